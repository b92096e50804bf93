"""Who may do what: the API by route, the admin by page, the site by page and method. Everything else is refused."""

from __future__ import annotations

from typing import Any

# --- the API ---

EVERYBODY = frozenset({"anonymous", "nobody", "viewer", "trainer", "admin", "read", "train", "train of a viewer", "admin of a viewer", "read of an admin", "train of an admin", "admin token"})  # fmt: skip
READERS = EVERYBODY - {"anonymous", "nobody"}
TRAINERS = frozenset({"trainer", "admin", "train", "train of an admin", "admin token"})
ADMINS = frozenset({"admin", "admin token"})
#: Own: started by `trainer`, to whom the tokens `read` and `train` belong too.
OWNERS = frozenset({"trainer", "train"}) | ADMINS

START = {"strategy_name": "stored"}
#: Method and path → who may, with which body, and the statuses of an answer to who may.
API: dict[tuple[str, str], tuple[frozenset[str], Any, set[int]]] = {
    ("POST", "/trainings/start"): (TRAINERS, START, {202}),
    ("POST", "/trainings/plan"): (TRAINERS, START, {200}),
    ("GET", "/trainings/{operation_id}/status"): (READERS, None, {200}),
    ("GET", "/trainings/{operation_id}/results"): (READERS, None, {409}),
    ("GET", "/operations"): (READERS, None, {200}),
    ("GET", "/operations/{operation_id}"): (READERS, None, {200}),
    ("GET", "/operations/{operation_id}/metrics"): (READERS, None, {200}),
    ("GET", "/operations/{operation_id}/checks"): (READERS, None, {200}),
    ("GET", "/operations/{operation_id}/log"): (READERS, None, {200}),
    ("GET", "/operations/{operation_id}/analytics"): (READERS, None, {200}),
    ("GET", "/operations/{operation_id}/analytics/{name}"): (READERS, None, {404}),  # it keeps none
    ("POST", "/operations/{operation_id}/cancel"): (OWNERS, {}, {200}),
    ("POST", "/operations/{operation_id}/resume"): (OWNERS, {}, {202}),
    ("GET", "/workers"): (READERS, None, {200}),
    ("GET", "/checkpoints"): (READERS, None, {200}),
    ("DELETE", "/checkpoints/{checkpoint_id}"): (ADMINS, None, {204}),
    ("GET", "/healthz"): (EVERYBODY, None, {200}),
    ("GET", "/strategies"): (READERS, None, {200}),
    ("GET", "/strategies/{name}"): (READERS, None, {200}),
    ("GET", "/strategies/{name}/features"): (READERS, None, {200}),
    ("POST", "/strategies/validate"): (READERS, {"strategy_yaml": "name: x"}, {200}),
    ("GET", "/models"): (READERS, None, {200}),
    ("GET", "/models/{name}"): (READERS, None, {200}),
    ("GET", "/models/{name}/download"): (READERS, None, {200}),
    ("POST", "/models/{name}/predict"): (READERS, {"symbol": "AAPL", "timeframe": "1d"}, {200}),
    ("GET", "/quick/{job}"): (READERS, None, {404}),  # nobody asked this
    ("GET", "/data"): (READERS, None, {200}),
    ("GET", "/data/{path:symbol}/{timeframe}"): (READERS, None, {200}),
    ("GET", "/data/{path:symbol}/{timeframe}/download"): (READERS, None, {200}),
    ("DELETE", "/data/{path:symbol}/{timeframe}"): (TRAINERS, None, {204}),
}

# --- the admin ---

ALL = (200, 200, 200, 200)
NONE = (403, 403, 403, 403)
ADMIN = (403, 403, 403, 200)
TRAINER = (403, 200, 200, 200)
OWNER = (403, 200, 403, 200)
#: Page of the admin → statuses. Columns: viewer, trainer with what is their own, trainer with what is another's, admin.
ADMIN_PAGES = {
    "index": ALL, "login": (302, 302, 302, 302), "logout": (405, 405, 405, 405), "workers": ALL,
    "password_change": ALL, "password_change_done": ALL, "jsi18n": ALL, "autocomplete": NONE,
    "app_list training": ALL, "app_list strategies_app": ALL, "app_list auth": (404, 404, 404, 200),
    "app_list django_rq": (404, 404, 404, 200),
    "training_operation_changelist": ALL, "training_operation_change": ALL, "training_operation_history": ALL,
    "training_operation_live": ALL, "training_operation_add": NONE,
    "training_operation_cancel": OWNER, "training_operation_force": OWNER, "training_operation_resume": OWNER,
    "training_operation_delete": ADMIN,
    "training_trainedmodel_changelist": ALL, "training_trainedmodel_change": ALL, "training_trainedmodel_history": ALL,
    "training_trainedmodel_download": ALL, "training_trainedmodel_add": NONE, "training_trainedmodel_delete": ADMIN,
    "training_checkpoint_changelist": ALL, "training_checkpoint_change": ALL, "training_checkpoint_history": ALL,
    "training_checkpoint_add": NONE, "training_checkpoint_delete": ADMIN,
    "training_barseries_changelist": ALL, "training_barseries_change": ALL, "training_barseries_history": ALL,
    "training_barseries_add": NONE, "training_barseries_delete": TRAINER,
    "training_apitoken_changelist": ALL, "training_apitoken_add": ALL, "training_apitoken_delete": NONE,
    "training_apitoken_change": (302, 200, 302, 200), "training_apitoken_history": (302, 200, 302, 200),
    "training_apitoken_revoke": (404, 200, 404, 200),
    "training_auditentry_changelist": ALL, "training_auditentry_change": ALL, "training_auditentry_history": ALL,
    "training_auditentry_add": NONE, "training_auditentry_delete": NONE,
    "strategies_app_strategy_changelist": ALL, "strategies_app_strategy_change": ALL, "strategies_app_strategy_history": ALL,
    "strategies_app_strategy_add": TRAINER, "strategies_app_strategy_delete": ADMIN,
    "strategies_app_strategyversion_changelist": ALL, "strategies_app_strategyversion_change": ALL,
    "strategies_app_strategyversion_history": ALL, "strategies_app_strategyversion_add": NONE,
    "strategies_app_strategyversion_delete": NONE,
    "auth_user_changelist": ADMIN, "auth_user_add": ADMIN, "auth_user_change": ADMIN, "auth_user_history": ADMIN,
    "auth_user_delete": ADMIN, "auth_user_password_change": ADMIN,
    "auth_group_changelist": ADMIN, "auth_group_add": NONE, "auth_group_change": ADMIN, "auth_group_history": ADMIN,
    "auth_group_delete": NONE,
}  # fmt: skip

# --- the site ---

#: Page of the site → methods → who may. Roles are signed in; `nobody` has an account and no role.
SEEING, TRAINING, OWNING = (
    frozenset({"viewer", "trainer", "admin"}),
    frozenset({"trainer", "admin"}),
    frozenset({"owner", "admin"}),
)
_READ = dict.fromkeys(("GET", "HEAD"), SEEING)
_TRAIN = dict.fromkeys(("GET", "HEAD"), TRAINING)
SITE: dict[str, dict[str, frozenset[str]]] = {
    **dict.fromkeys((
        "site:home", "site:around", "site:operations", "site:operation", "site:log", "site:use", "site:checkpoints", "site:probabilities",
        "site:bundle", "site:report", "site:epochs", "site:predictions", "site:results-json", "site:analytics", "site:analytics-file",
        "site:compare", "site:data", "site:series", "site:candles", "site:models", "site:model", "site:model-download",
        "site:prediction", "site:prediction-csv", "site:series-download", "site:workers", "site:account", "site:preview-symbols", "site:preview-job",
        "strategies:list", "strategies:page", "strategies:download",
    ), _READ),
    **{key: {"POST": SEEING} for key in ("site:predict", "site:preview", "site:token-revoke", "strategies:check")},
    **dict.fromkeys(("site:tokens", "site:importance"), _READ | {"POST": SEEING}),
    "site:annotate": _READ | {"POST": OWNING},
    **dict.fromkeys(("site:plan-job", "site:sample-loading", "site:upload-preview", "site:upload-loading"), _TRAIN),
    **dict.fromkeys((
        "site:train", "site:upload", "site:uploaded", "site:fetch", "site:fetched", "strategies:new", "strategies:edit",
    ), _TRAIN | {"POST": TRAINING}),
    **{key: {"POST": TRAINING} for key in ("site:plan", "site:sample", "site:series-update", "site:series-delete", "strategies:add-sample")},
    **{key: {"POST": OWNING} for key in ("site:cancel", "site:resume")},
    "site:password": dict.fromkeys(("GET", "HEAD", "POST"), SEEING | {"nobody"}),
    "site:sign-in": dict.fromkeys(("GET", "HEAD", "POST"), SEEING | {"nobody", "anonymous"}),
    "site:sign-out": {"POST": SEEING | {"nobody", "anonymous"}},
}  # fmt: skip
