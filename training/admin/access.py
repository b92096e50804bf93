"""Who may what, in the admin: people and their roles, keys to the API, and the trail of who did what."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.dispatch import receiver
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from strategies_app.signals import strategy_deleted, strategy_saved
from training.access import tokens
from training.access.audit import Actor, audit
from training.access.roles import ADMIN, ROLES, VIEWER, give_role, is_admin, role_of
from training.access.sign_ins import OF_ADMINS
from training.admin.parts import NOTHING, ReadOnlyAdmin, address_of, ago, as_json, confirmation, exact, list_address
from training.models import ApiToken, AuditEntry, Operation

MAY_READ = "training.view_operation"


# --- keys to the API ---


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """One's own keys, or all as an admin; a key is made and revoked, never edited."""

    list_display = ("name", "prefix", "state", "scope", "user", "since", "used", "ends")
    list_filter = ("scope",)
    list_select_related = ("user",)
    search_fields = ("name", "prefix", "user__username")
    search_help_text = "name or beginning of a token, or its user"
    list_per_page = 50
    actions: ClassVar = ["revoke_selected"]
    change_form_template = "admin/training/token_page.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        rows = super().get_queryset(request)
        return rows if is_admin(request.user) else rows.filter(user=request.user)

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("name", "scope", "expires")
        return ("name", "prefix", "state", "scope", "user", "made", "used", "ends", "revoked_at")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(MAY_READ)

    def has_view_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return request.user.has_perm(MAY_READ) and (obj is None or obj.user_id == request.user.pk or is_admin(request.user))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(MAY_READ)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(MAY_READ)

    @admin.display(description="State")
    def state(self, token: ApiToken) -> SafeString:
        over = token.expires is not None and token.expires <= timezone.now()
        state = "revoked" if token.revoked else "expired" if over else "valid"
        return format_html('<span class="pill {}">{}</span>', state, state)

    @admin.display(description="Made", ordering="created")
    def since(self, token: ApiToken) -> SafeString | str:
        return ago(token.created)

    @admin.display(description="Made")
    def made(self, token: ApiToken) -> str:
        return exact(token.created)

    @admin.display(description="Last used", ordering="last_used")
    def used(self, token: ApiToken) -> SafeString | str:
        return ago(token.last_used) if token.last_used else "never"

    @admin.display(description="Expires", ordering="expires")
    def ends(self, token: ApiToken) -> SafeString | str:
        return ago(token.expires) if token.expires else "never"

    @admin.display(description="Revoked")
    def revoked_at(self, token: ApiToken) -> str:
        return exact(token.revoked)

    # --- making one ---

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "scope":
            allowed = tokens.scopes_of(request.user)
            kwargs["choices"] = [choice for choice in ApiToken.Scope.choices if choice[0] in allowed]
        return super().formfield_for_choice_field(db_field, request, **kwargs)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, **kwargs | {"form": TokenForm})

    def save_model(self, request: HttpRequest, obj: ApiToken, form: forms.ModelForm, change: bool) -> None:
        row, secret = tokens.create(request.user, obj.name, obj.scope, obj.expires)
        obj.__dict__.update(row.__dict__)
        obj.secret = secret
        audit(Actor(request.user, "admin"), "create token", row.prefix, name=row.name, scope=row.scope)

    def response_add(self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None) -> HttpResponse:
        """The one page that shows the secret: it is the answer itself, so that it is kept nowhere."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Token {obj.name}",
            "token": obj,
            "secret": obj.secret,
            "back": list_address(obj),
        }
        headers = {"Cache-Control": "no-store"}
        return TemplateResponse(request, "admin/training/token_made.html", context, headers=headers)

    # --- revoking ---

    def get_urls(self) -> list[URLPattern]:
        revoke = self.admin_site.admin_view(self.revoke)
        return [path("<path:object_id>/revoke/", revoke, name="training_apitoken_revoke"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is not None and row.revoked is None:
            extra_context = {**(extra_context or {}), "revoke": address_of(row, "revoke")}
        return super().change_view(request, object_id, form_url, extra_context)

    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404(f"there is no token {object_id}")
        if request.method != "POST":
            return confirmation(self, request, "Revoke", [(row, REVOKED)], address_of(row))
        self._revoke(request, row)
        return HttpResponseRedirect(list_address(row))

    @admin.action(permissions=["revoke"], description="Revoke")
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> HttpResponse | None:
        rows = list(queryset)
        if "confirmed" not in request.POST:
            return confirmation(self, request, "Revoke", [(row, REVOKED) for row in rows], list_address(ApiToken))
        for row in rows:
            self._revoke(request, row)
        return None

    def _revoke(self, request: HttpRequest, row: ApiToken) -> None:
        if not ApiToken.objects.filter(pk=row.pk, revoked=None).update(revoked=timezone.now()):
            messages.warning(request, f"{row} was revoked before.")
            return
        audit(Actor(request.user, "admin"), "revoke token", row.prefix, name=row.name)
        LogEntry.objects.log_actions(request.user.pk, [row], CHANGE, "Revoked", single_object=True)
        messages.success(request, f"{row} is revoked.")


REVOKED = "Whoever uses it is refused from now on. It cannot be taken back; make a new one instead."


class TokenForm(forms.ModelForm):
    class Meta:
        model = ApiToken
        fields = ("name", "scope", "expires")
        help_texts: ClassVar = {
            "name": "what it is for, to recognise it by",
            "scope": "never more than you may yourself at that moment",
            "expires": "UTC; empty: never",
        }

    def clean_expires(self) -> Any:
        expires = self.cleaned_data["expires"]
        if expires is not None and expires <= timezone.now():
            raise ValidationError("a token cannot expire in the past")
        return expires


# --- the trail ---


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("time", "who", "action", "of", "via", "more")
    list_filter = ("action", ("user", admin.RelatedOnlyFieldListFilter))
    search_fields = ("username", "action", "target")
    search_help_text = "user, action, operation, model or strategy"
    date_hierarchy = "at"
    list_per_page = 100
    fields: ClassVar = ("time", "who", "action", "of", "everything")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEntry]:
        """Who signed in from where, and which names were tried, is for admins: somebody may have typed a password there."""
        rows = super().get_queryset(request)
        return rows if is_admin(request.user) else rows.exclude(action__in=OF_ADMINS)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(MAY_READ)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(MAY_READ)

    @admin.display(description="When", ordering="at")
    def time(self, entry: AuditEntry) -> str:
        return exact(entry.at)

    @admin.display(description="Who", ordering="username")
    def who(self, entry: AuditEntry) -> str:
        return entry.username or "command line"

    @admin.display(description="What of", ordering="target")
    def of(self, entry: AuditEntry) -> SafeString | str:
        if not entry.target.startswith("op_"):
            return entry.target
        # Without a look whether it is still stored: that would be a query for every line.
        return format_html('<a class="id" href="{}">{}</a>', address_of(Operation(pk=entry.target)), entry.target)

    @admin.display(description="By")
    def via(self, entry: AuditEntry) -> str:
        return str(entry.details.get("via", NOTHING))

    @admin.display(description="Details")
    def more(self, entry: AuditEntry) -> str:
        said = {k: v for k, v in entry.details.items() if k not in ("via", "sha256") and v not in ("", None, False)}
        text = ", ".join(f"{k} {v if isinstance(v, (str, int)) else json.dumps(v)}" for k, v in said.items())
        return text if len(text) <= 120 else f"{text[:119]}…"

    @admin.display(description="Details")
    def everything(self, entry: AuditEntry) -> SafeString | str:
        return as_json(entry.details)


@receiver(strategy_saved)
def record_saved(user: Any, name: str, details: dict[str, Any], via: str = "admin", **kwargs: Any) -> None:
    audit(Actor(user, via), "save", name, **details)


@receiver(strategy_deleted)
def record_deleted(user: Any, name: str, details: dict[str, Any], via: str = "admin", **kwargs: Any) -> None:
    audit(Actor(user, via), "delete", name, **details)


# --- people ---

ROLE_HELP = "viewer reads all; trainer also edits strategies, starts trainings and controls own ones; admin everything"


class PersonForm(UserChangeForm):
    role = forms.ChoiceField(choices=[(role, role) for role in ROLES], help_text=ROLE_HELP)
    #: Set by the page: who fills the form in.
    asker: ClassVar[Any] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].initial = role_of(self.instance) or VIEWER

    def clean(self) -> dict[str, Any]:
        """Whoever makes the last admin a viewer has locked everyone out: it is never the admin who asks."""
        cleaned = super().clean() or self.cleaned_data
        if self.instance.pk == self.asker.pk:
            if cleaned.get("role") != ADMIN:
                self.add_error("role", "you cannot take the admin's role from yourself, another admin can")
            if not cleaned.get("is_active"):
                self.add_error("is_active", "you cannot lock yourself out")
        return cleaned


class NewPersonForm(AdminUserCreationForm):
    role = forms.ChoiceField(choices=[(role, role) for role in ROLES], initial=VIEWER, help_text=ROLE_HELP)


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class PersonAdmin(DjangoUserAdmin):
    """Django's page of a user, with one role in place of groups and single permissions."""

    form, add_form = PersonForm, NewPersonForm
    list_display = ("username", "email", "role", "is_active", "seen")
    list_filter = ("groups", "is_active")
    list_per_page = 50
    show_full_result_count = False
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("username", "password", "role", "is_active")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Dates", {"fields": ("last_seen", "joined")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("username", "usable_password", "password1", "password2", "role")}),)
    readonly_fields = ("last_seen", "joined")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description="Role")
    def role(self, user: User) -> str:
        return role_of(user) or "none"

    @admin.display(description="Last sign-in", ordering="last_login")
    def seen(self, user: User) -> SafeString | str:
        return ago(user.last_login) if user.last_login else "never"

    @admin.display(description="Last sign-in")
    def last_seen(self, user: User) -> str:
        return exact(user.last_login)

    @admin.display(description="Joined")
    def joined(self, user: User) -> str:
        return exact(user.date_joined)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_admin(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_admin(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_admin(request.user)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_admin(request.user)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_admin(request.user) and (obj is None or obj.pk != request.user.pk)

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, **kwargs)
        form.asker = request.user
        return form

    def save_model(self, request: HttpRequest, obj: User, form: forms.ModelForm, change: bool) -> None:
        before = role_of(obj) if change else ""
        super().save_model(request, obj, form, change)
        role = form.cleaned_data["role"]
        if role != before:
            give_role(obj, role)
            audit(Actor(request.user, "admin"), "give role", obj.get_username(), role=role, before=before)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        name = obj.get_username()
        super().delete_model(request, obj)
        audit(Actor(request.user, "admin"), "delete", name, kind="user")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """A user's keys go with the user, though nobody may delete a key by itself."""
        gone, counts, lacking, protected = super().get_deleted_objects(objs, request)
        return gone, counts, lacking - {ApiToken._meta.verbose_name}, protected


@admin.register(Group)
class RoleAdmin(ReadOnlyAdmin):
    """The three roles and what each may: they are made anew after every migration, so nothing is edited."""

    fields: ClassVar = ("name", "may")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_admin(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_admin(request.user)

    @admin.display(description="May")
    def may(self, group: Group) -> str:
        return "\n".join(permission.name for permission in group.permissions.all())
