"""Golden losses of every objective and weighting, sample by sample: crates/distill/tests/golden/losses.json.

The formulas are those of 2210.03142, 2202.00512, 2303.01469, 2310.04378 and 2310.01407 in terms of x and noise, in 64 bits,
where the program works in terms of velocities and angles in 32. The random draws are the program's own, from draws.json next
to it (`cargo test --release --test golden_losses -- --ignored` writes them). Needs numpy: python tools/golden/distill_losses.py
"""

import json
import pathlib

import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "crates/distill/tests/golden"
draws = json.loads((FOLDER / "draws.json").read_text())
TIME, W, DROPOUT, SHARED = (np.array(draws[key]) for key in ("time", "w", "dropout", "shared"))
BATCH = len(TIME)
NOISE = np.array(draws["noise"]).reshape(BATCH, -1)
PIXELS = NOISE.shape[1]
X = 0.8 * np.sin(0.7 * np.arange(BATCH * PIXELS) + 0.3).reshape(BATCH, PIXELS)
CLASSES = np.arange(BATCH) % 2
NONE = 2
RANGE = (-0.5, 3.0)


def column(values):
    return np.broadcast_to(np.asarray(values, dtype=np.float64), (BATCH,))[:, None]


def angle(t):
    b = np.arctan(np.exp(-10.0))
    return (np.pi / 2 - 2 * b) * np.asarray(t) + b


def alpha(t):
    return column(np.cos(angle(t)))


def sigma(t):
    return column(np.sin(angle(t)))


def online(z, t, c, w):
    return np.sin(1.1 * z + 0.7 * column(t) + 0.4 * column(c)) + 0.15 * column(w)


def average(z, t, c, w):
    return np.cos(0.9 * z - 0.5 * column(t) + 0.3 * column(c)) + 0.1 * column(w)


def teacher(z, t, c, w):
    return 0.8 * np.sin(1.3 * z - 0.6 * column(t) + 0.5 * column(c)) + 0.05 * column(w)


def guided(network):
    """x and noise are affine in v, so guiding v guides all: (1 + w) conditional - w unconditional."""
    return lambda z, t, c, w: (1 + column(w)) * network(z, t, c, 0) - column(w) * network(z, t, NONE, 0)


def x_of(z, t, v):
    return alpha(t) * z - sigma(t) * v


def noise_of(z, t, v):
    return sigma(t) * z + alpha(t) * v


def w_of(low, high):
    return low + (high - low) * W


def noisy(t):
    return alpha(t) * X + sigma(t) * NOISE


def snr(t):
    return (alpha(t) / sigma(t))[:, 0] ** 2


# Weights of a squared error of x.
WEIGHTS = {
    "snr": snr,
    "truncated-snr": lambda t: np.maximum(snr(t), 1),
    "snr-plus-one": lambda t: 1 + snr(t),
    "min-snr": lambda t: np.minimum(snr(t), 5),
}


def mean(error):
    return error.mean(axis=1)


def step(z, t, v, s):
    """DDIM from t to s in terms of x and noise; s = None ends without noise."""
    if s is None:
        return x_of(z, t, v)
    return alpha(s) * x_of(z, t, v) + sigma(s) * noise_of(z, t, v)


losses = {}

# Stage one. Uniform is a weight of 1 on the velocity.
z, w = noisy(TIME), w_of(*RANGE)
target = guided(teacher)(z, TIME, CLASSES, w)
predicted = online(z, TIME, CLASSES, w)
for name, weight in WEIGHTS.items():
    error = mean((x_of(z, TIME, predicted) - x_of(z, TIME, target)) ** 2)
    losses[f"guided {name}"] = weight(TIME) * error
# Balanced over w: 1 / (1 + w)^2, whose mean over the range is that of its integral.
low, high = RANGE
balance = (1 + w) ** -2.0 / ((1 / (1 + low) - 1 / (1 + high)) / (high - low))
losses["guided balanced"] = balance * losses["guided truncated-snr"]
losses["guided uniform"] = mean((predicted - target) ** 2)

# Denoising: the label is dropped where the draw is below the probability.
classes = np.where(DROPOUT < 0.4, NONE, CLASSES)
error = mean((x_of(z, TIME, online(z, TIME, classes, w)) - X) ** 2)
losses["denoising"] = WEIGHTS["truncated-snr"](TIME) * error
error = mean((x_of(z, TIME, online(z, TIME, CLASSES, 0)) - X) ** 2)
losses["denoising labelled"] = WEIGHTS["min-snr"](TIME) * error




def progressive(kind, steps):
    """Two steps of the teacher in one, sample by sample (alg. 2 of both papers)."""
    result = []
    for k in range(BATCH):
        i = min(int(TIME[k] * steps), steps - 1) + 1

        def only(values):
            return np.broadcast_to(values[k], values.shape)

        w, c = only(w_of(*RANGE)), only(CLASSES)
        if kind == "encoder":
            t, middle, end = (i - 1) / steps, (i - 0.5) / steps, i / steps
        elif kind == "deterministic":
            t, middle, end = i / steps, (i - 0.5) / steps, (i - 1) / steps
        elif i == 1:
            t, middle, end = i / steps, i / steps, 0.0
        else:
            t, middle, end = i / steps, (i - 1) / steps, (i - 2) / steps
        x, noise = np.broadcast_to(X[k], X.shape), np.broadcast_to(NOISE[k], X.shape)
        z = x if t == 0.0 else alpha(t) * x + sigma(t) * noise
        z_middle = step(z, t, teacher(z, t, c, w), middle)
        v_middle = teacher(z_middle, middle, c, w)
        mine = online(z, t, c, w)
        if end == 0.0:
            target = x_of(z_middle, middle, v_middle)
        else:
            z_end = step(z_middle, middle, v_middle, end)
            ratio = sigma(end) / sigma(t)
            target = (z_end - ratio * z) / (alpha(end) - ratio * alpha(t))
        if kind == "encoder":
            # At t = 0 the error of x says nothing: that of v, at the weight of v.
            turn = angle(end) - angle(t)
            target = (step(z_middle, middle, v_middle, end) - np.cos(turn) * z) / np.sin(turn)
            weight = np.maximum(alpha(t)[0, 0] ** 2, sigma(t)[0, 0] ** 2)
            result.append(weight * mean((target - mine) ** 2)[k])
        else:
            weight = WEIGHTS["truncated-snr"](t)[k]
            result.append(weight * mean((target - x_of(z, t, mine)) ** 2)[k])
    return np.array(result)


for kind in ("deterministic", "stochastic", "encoder"):
    losses[f"progressive {kind}"] = progressive(kind, 4)


def grid(u, intervals):
    i = np.minimum(np.floor(u * intervals) + 1, intervals)
    return i / intervals, (i - 1) / intervals


def to(s):
    """The angle at s, where a step to 0 ends without noise."""
    return np.where(np.asarray(s) == 0.0, 0.0, angle(s))


def move(z, t, v, s):
    x, noise = x_of(z, t, v), noise_of(z, t, v)
    return column(np.cos(to(s))) * x + column(np.sin(to(s))) * noise


def lcm(z, t, x):
    tau = column(np.asarray(t) * 1e4)
    return 0.25 / (tau**2 + 0.25) * z + tau / np.sqrt(tau**2 + 0.25) * x


DISTANCES = {
    "l2": lambda a, b: mean((a - b) ** 2),
    "l1": lambda a, b: mean(np.abs(a - b)),
    "huber": lambda a, b: mean(np.sqrt((a - b) ** 2 + 0.01) - 0.1),
}


def consistency(times, solver, boundary, distance):
    t, s = grid(TIME, 4) if times == "grid" else (TIME, np.maximum(TIME - 0.25, 0))
    z, w, f = noisy(t), w_of(*RANGE), (lcm if boundary == "lcm" else lambda z, t, x: x)
    v = guided(teacher)(z, t, CLASSES, w)
    z_s = move(z, t, v, s)
    if solver == "heun":
        # The slope of the ODE in x and noise held fixed: both ends' predictions, averaged.
        second = guided(teacher)(z_s, s, CLASSES, w)
        turn = column(to(s) - angle(t))
        back = second * np.cos(turn) + z_s * np.sin(turn)
        z_s = move(z, t, (v + back) / 2, s)
    target = f(z_s, s, x_of(z_s, s, average(z_s, s, CLASSES, w)))
    mine = f(z, t, x_of(z, t, online(z, t, CLASSES, w)))
    return WEIGHTS["min-snr"](t) * DISTANCES[distance](mine, target)


losses["consistency ddim"] = consistency("grid", "ddim", "plain", "l2")
losses["consistency heun"] = consistency("grid", "heun", "plain", "l1")
losses["consistency any"] = consistency("any", "ddim", "lcm", "huber")


def codi(shared, consistent, model, noise, is_guided):
    t, s = grid(SHARED if shared else TIME, 4)
    z, w = noisy(t), w_of(*RANGE)
    of = guided if is_guided else lambda network: lambda z, t, c, w: network(z, t, c, 0)
    mine = of(online)(z, t, CLASSES, w)
    step = {"online": of(online), "average": of(average), "base": of(teacher)}[model](z, t, CLASSES, w)
    x = x_of(z, t, step)
    z_s = alpha(s) * x + sigma(s) * (NOISE if noise == "true" else noise_of(z, t, step))
    target = of(average)(z_s, s, CLASSES, w)
    if consistent == "noise":
        error = DISTANCES["l2"](noise_of(z, t, mine), noise_of(z_s, s, target))
        # A weight of min(SNR, 5) on x; no noise is left at s = 0.
        weight = np.where(s == 0, 0, np.minimum(snr(t), 5) / snr(t))
    else:
        error = DISTANCES["l2"](lcm(z, t, x_of(z, t, mine)), lcm(z_s, s, x_of(z_s, s, target)))
        weight = np.minimum(snr(t), 5)
    return 0.7 * weight * error + 1.5 * DISTANCES["l1"](X, x_of(z, t, mine))


losses["codi paper"] = codi(True, "noise", "online", "true", False)
losses["codi average"] = codi(False, "noise", "average", "predicted", True)
losses["codi base"] = codi(False, "image", "base", "true", False)

FOLDER.joinpath("losses.json").write_text(
    json.dumps({name: [float(f"{value:.9g}") for value in loss] for name, loss in losses.items()}, indent=1) + "\n"
)
