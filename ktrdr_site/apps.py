"""The admin's application with our own site in place of Django's; registrations are found by urls.py."""

from __future__ import annotations

from django.contrib.admin.apps import SimpleAdminConfig


class TrainAdminConfig(SimpleAdminConfig):
    default_site = "training.admin_site.TrainSite"
