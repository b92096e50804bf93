"""Roles: viewer reads all; trainer also edits strategies, loads data and controls own operations; admin everything.

A role is a group of Django's; what it may is that group's permissions, so the admin and the API
ask the same question. A token narrows its user's role to its scope, at each request anew.
"""

from __future__ import annotations

from typing import Any

from training.models import Operation

VIEWER, TRAINER, ADMIN = "viewer", "trainer", "admin"
ROLES = (VIEWER, TRAINER, ADMIN)
#: Models that every role may look at.
READABLE = (
    "strategies_app.strategy", "strategies_app.strategyversion", "training.operation", "training.checkpoint",
    "training.epochmetric", "training.trainedmodel", "training.barseries",
)  # fmt: skip
TRAINS = (
    "strategies_app.add_strategy", "strategies_app.change_strategy", "strategies_app.add_strategyversion",
    "training.add_barseries", "training.change_barseries", "training.delete_barseries",
    "training.start_operation", "training.cancel_operation", "training.force_operation", "training.resume_operation",
    "training.annotate_operation",
)  # fmt: skip


def permissions_of(role: str) -> set[str]:
    """`app.codename` of all that a role may; the admin's role may everything of our apps."""
    views = {name.replace(".", ".view_") for name in READABLE}
    return {VIEWER: views, TRAINER: views | set(TRAINS)}.get(role, set())


def make_groups(**kwargs: Any) -> None:
    """The three groups with their permissions; called after every migration."""
    from django.contrib.auth.models import Group, Permission

    ours = Permission.objects.filter(content_type__app_label__in=("strategies_app", "training")).select_related("content_type")
    for role in ROLES:
        group, _ = Group.objects.get_or_create(name=role)
        names = permissions_of(role)
        group.permissions.set([p for p in ours if role == ADMIN or f"{p.content_type.app_label}.{p.codename}" in names])


def give_role(user: Any, role: str) -> None:
    """Put a user into one role; all roles may sign in to the admin, where they see what they may."""
    from django.contrib.auth.models import Group

    user.groups.set([Group.objects.get(name=role)])
    user.in_admins = role == ADMIN
    user.is_staff, user.is_superuser = True, role == ADMIN
    user.save()


def role_of(user: Any) -> str:
    """The role that a user has; of a superuser without one, admin."""
    names = {group.name for group in user.groups.all()}
    return next((role for role in reversed(ROLES) if role in names), ADMIN if user.is_superuser else "")


def may_control(user: Any, operation: Operation, permission: str) -> bool:
    """Whether a user may cancel, annotate … (`cancel_operation`, …) this operation: one's own, or any as an admin."""
    if not user.has_perm(f"training.{permission}"):
        return False
    return operation.user_id == user.pk or is_admin(user)


def is_admin(user: Any) -> bool:
    """Asked of the database once per user object, which lives for a request, as Django does with permissions."""
    if not user.is_active or user.is_superuser:
        return bool(user.is_active)
    if not hasattr(user, "in_admins"):
        user.in_admins = user.groups.filter(name=ADMIN).exists()
    return bool(user.in_admins)
