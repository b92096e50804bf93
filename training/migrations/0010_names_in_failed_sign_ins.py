"""Names that belong to nobody were kept in clear with failed sign-ins; some of them are passwords typed into the wrong field."""

from django.conf import settings
from django.db import migrations


def forget(apps, schema_editor):
    """One word for all of them: which of them were the same is of no use any more."""
    known = set(apps.get_model("auth", "User").objects.values_list("username", flat=True))
    rows = apps.get_model("training", "AuditEntry").objects.filter(action="failed sign-in")
    for row in rows.exclude(target__startswith="unknown name ").iterator(chunk_size=1000):
        if row.target not in known:
            row.target = "unknown name"
            row.save(update_fields=["target"])


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0009_identity"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [migrations.RunPython(forget, migrations.RunPython.noop)]
