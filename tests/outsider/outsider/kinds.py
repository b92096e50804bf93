"""What this package adds to KTRDR Train: descriptions only. Three are honest, three break a law each."""

from strategies_app.kinds import IndicatorKind, LabelKind, NetworkKind, Parameter

PERIOD = Parameter("period", 10, 2, 200)

GLIDE = IndicatorKind(
    name="glide",
    outputs=("value", "distance"),
    parameters=(PERIOD,),
    aliases=("glidingaverage",),
    warm_up=lambda p: (p["period"] - 1, p["period"] - 1),
    memory="decaying",
    scale_free_outputs=("distance",),
    constant="the price, 0",
    formula="exponential average of the close that begins with the first one, and how far the close is above it, in percent",
    compute="outsider.indicators:glide",
)

#: Breaks causality: an average around its bar.
PEEKING = IndicatorKind(
    name="peeking",
    outputs=("value",),
    parameters=(PERIOD,),
    warm_up=lambda p: (p["period"] - 1,),
    constant="the price",
    formula="mean of the closes around the bar",
    compute="outsider.indicators:peeking",
)

#: Breaks isolation: the average goes on from where it stood, whatever symbol that was.
REMEMBERING = IndicatorKind(
    name="remembering",
    outputs=("value",),
    parameters=(PERIOD,),
    warm_up=lambda p: (0,),
    memory="decaying",
    constant="the price",
    formula="exponential average of the close",
    compute="outsider.indicators:remembering",
)

BREAKOUT = LabelKind(
    name="breakout",
    classes=("UP", "NONE", "DOWN"),
    parameters=(Parameter("window", 10, 2, 200), Parameter("horizon", 5, 1, 100)),
    look_ahead=lambda p: p["horizon"],
    warm_up=lambda p: p["window"],
    formula="whether the close at the horizon is above or below all closes of the window",
    compute="outsider.labels:breakout",
)

#: Breaks the label end: it is known a bar later than it says.
HASTY = LabelKind(
    name="hasty",
    classes=("UP", "DOWN"),
    parameters=(Parameter("horizon", 5, 2, 100),),
    look_ahead=lambda p: p["horizon"] - 1,
    formula="whether the close is higher at the horizon",
    compute="outsider.labels:hasty",
)

GATED = NetworkKind(
    name="gated",
    parameters=(
        Parameter("width", 12, 1, 512),
        Parameter("dropout", 0.1, 0.0, 0.9),
        Parameter("gate", "sigmoid", choices=("sigmoid", "tanh")),
    ),
    formula="one hidden layer, each of whose values passes through a gate of its own",
    build="outsider.networks:gated",
)
