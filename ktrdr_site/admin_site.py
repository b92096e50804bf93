"""The admin's site: its name, the order of its index, and the page of the workers, which are no rows of the database."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse

from training.access.sign_ins import OwnPasswordView, SignInForm

#: What is looked for most comes first; what is not named here comes last.
APPS = ("training", "strategies_app", "auth", "django_rq")
MODELS = ("Operation", "TrainedModel", "Worker", "BarSeries", "Checkpoint", "ApiToken", "AuditEntry")

#: Where the words made from a class name read badly.
NAMES = {"ApiToken": "API tokens", "Dashboard": "Queues of RQ", "Group": "Roles"}


def _place(name: str, order: tuple[str, ...]) -> int:
    return order.index(name) if name in order else len(order)


class TrainSite(AdminSite):
    login_form = SignInForm  # after too many failed tries it looks at no password
    site_title = site_header = "KTRDR Train"
    index_title = "Overview"
    site_url = "/"
    # The lists are wide, and the index is one click away.
    enable_nav_sidebar = False

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        # It deletes rows behind the back of the verbs: without files, without a look at the state.
        self.disable_action("delete_selected")

    def get_urls(self) -> list[URLPattern | URLResolver]:
        # "View on site" looks a row up by any model's name and shows it to whoever may enter the admin.
        rest = [page for page in super().get_urls() if getattr(page, "name", None) != "view_on_site"]
        return [path("workers/", self.admin_view(self.workers), name="workers"), *rest]

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[dict[str, Any]]:
        apps = super().get_app_list(request, app_label)
        for app in apps:
            if app["app_label"] == "training" and request.user.has_perm("training.view_operation"):
                app["models"].append(_WORKERS | {"admin_url": reverse(f"{self.name}:workers")})
            for model in app["models"]:
                model["name"] = NAMES.get(model["object_name"], model["name"])
            app["models"].sort(key=lambda model: _place(model["object_name"], MODELS))
        return sorted(apps, key=lambda app: _place(app["app_label"], APPS))

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Django's page, with the count of wrong passwords that the other one has."""
        request.current_app = self.name  # type: ignore[attr-defined]
        page = OwnPasswordView.as_view(
            template_name="registration/password_change_form.html",
            success_url=reverse(f"{self.name}:password_change_done"),
            extra_context={**self.each_context(request), **(extra_context or {})},
        )
        return page(request)

    def workers(self, request: HttpRequest) -> HttpResponse:
        """Who is there to train, and how to start somebody."""
        from training.admin.workers import workers_page

        context = {**self.each_context(request), "title": "Workers", **workers_page(request)}
        return TemplateResponse(request, "admin/training/workers.html", context)


#: An entry of the index like a model's.
_WORKERS = {
    "name": "Workers",
    "object_name": "Worker",
    "perms": {"view": True},
    "view_only": True,
    "add_url": None,
    "model": None,
}
