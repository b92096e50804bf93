"""The admin's application with our own site in place of Django's; registrations are found by urls.py."""

from __future__ import annotations

from django.contrib.admin.apps import SimpleAdminConfig


class TrainAdminConfig(SimpleAdminConfig):
    default_site = "ktrdr_site.admin_site.TrainSite"
