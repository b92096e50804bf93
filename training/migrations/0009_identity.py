import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0008_mailed"),
    ]

    operations = [
        migrations.CreateModel(
            name="Identity",
            fields=[
                ("name", models.CharField(help_text="`database`, or which folder, such as bundles", max_length=32, primary_key=True, serialize=False)),
                ("key", models.CharField(max_length=32)),
                ("since", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name_plural": "identities",
            },
        ),
    ]
