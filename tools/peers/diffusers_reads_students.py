"""Whether diffusers reads every form that we write, and makes the same of it, to 1e-4 of the largest value.

    pip install -r tools/peers/requirements.txt transformers peft pillow safetensors
    cargo build --release --bin fewstep --example network
    python3 tools/peers/diffusers_reads_students.py [--keep FOLDER]

Distils tiny students from the tiny Stable Diffusion of the tests, a minute in all, and loads in diffusers:

- the folder of a student with its input for w: U-Net, and a picture drawn by the pipeline in two steps;
- the folder of `export --bake-w`: the same, without input for w;
- the single file of `export --bake-w --form single-file`, through `from_single_file`: the same;
- low-rank changes on their teacher (`export --form lora`), through `load_lora_weights` and PEFT, beside the input for w;
- an adapter (`controlnet/`) as `ControlNetModel`: of a model that draws from texts as it is, alone and in the pipeline that its
  folder names; of one on pixels with the middle of its base in the place of ControlNet's, which has no attention there.

`examples/network` says what ours are for the same inputs.
"""
import argparse
import json
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch
from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel, UNet2DModel
from diffusers import StableDiffusionControlNetPipeline, StableDiffusionPipeline
from diffusers.utils import logging
from PIL import Image
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
FEWSTEP, NETWORK = ROOT / "target/release/fewstep", ROOT / "target/release/examples/network"
TEACHER = ROOT / "crates/formats/tests/golden/latent/sd1"
W, STEPS, TOLERANCE = 6.5, 2, 1e-4
STUDENT = """
seed = 4
teacher = "{teacher}"
w_embedding = {{ dim = 16, scale = 1000.0 }}
prompts = ["a cat"]
[data]
kind = "captioned"
path = "{data}"
size = 16
[guided]
updates = 4
optim = {{ batch = 4, lr = 1e-2 }}
[progressive]
start_steps = 4
end_steps = 2
updates = 4
optim = {{ batch = 4, lr = 1e-2 }}
{more}
"""
PIXELS = """
seed = 3
updates = 4
{data}
[network]
widths = [8, 16]
blocks = 1
attention = [false, true]
head = 8
groups = 4
[optim]
batch = 4
lr = 1e-2
"""
ADAPTER = """
method = "codi"
seed = 4
teacher = "{teacher}"
updates = 8
train = "adapter"
condition = {condition}
{data}
[codi]
intervals = 8
[optim]
batch = 4
lr = 1e-2
"""
DATA_OF_TEXTS = """
[data]
kind = "captioned"
path = "{data}"
size = 16
"""
DATA_OF_PIXELS = """
[data]
kind = "folder"
path = "{data}"
size = 16
channels = 3
"""


def fewstep(*words):
    subprocess.run([FEWSTEP, *map(str, words)], check=True, capture_output=True)


def pictures(folder):
    """Captioned pictures; the same by class in two folders."""
    for number in range(8):
        x = torch.arange(3 * 16 * 16) * 37 + 11 * number
        picture = Image.fromarray((x % 256).to(torch.uint8).reshape(16, 16, 3).numpy())
        for place in ["captioned", f"classes/{'ab'[number % 2]}"]:
            (folder / place).mkdir(parents=True, exist_ok=True)
            picture.save(folder / place / f"{number}.png")
        (folder / f"captioned/{number}.txt").write_text(f"picture {number % 3}")


def recipe(folder, name, text, **values):
    path = folder / f"{name}.toml"
    path.write_text(text.format(**values))
    return path


def compare(what, theirs, ours):
    error = ((theirs - ours).abs().max() / ours.abs().max()).item()
    print(f"{what}: {error:.1e} of the largest value", flush=True)
    assert theirs.shape == ours.shape and error < TOLERANCE, what
    return error


class Case:
    """Inputs, and what ours makes of them."""

    def __init__(self, scratch):
        generator = torch.Generator().manual_seed(0)
        draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
        config = json.loads((TEACHER / "unet/config.json").read_text())
        side = config["sample_size"]
        self.z, self.noise = draw(2, 4, side, side), draw(2, 4, side, side)
        self.time, self.states = torch.tensor([980.0, 250.0]), draw(2, 7, config["cross_attention_dim"])
        self.scratch = scratch

    def ours(self, model, **more):
        inputs, out = self.scratch / "inputs.safetensors", self.scratch / "output.safetensors"
        given = {"z": self.z, "time": self.time, "states": self.states} | more
        save_file({name: value.contiguous() for name, value in given.items()}, inputs)
        subprocess.run([NETWORK, model, inputs, out], check=True)
        # Copies: a file that was read lies in memory as it is on disk, and this one is written again.
        made = {name: value.clone() for name, value in load_file(out).items()}
        return made["output"], made.get("image")

    def drawn_by_ours(self, model, w=0.0, **more):
        more["w"] = torch.full([2], w)
        return self.ours(model, noise=self.noise, steps=torch.tensor([float(STEPS)]), **more)

    def picture(self, pipe, guidance_scale, **more):
        pipe.set_progress_bar_config(disable=True)
        drawn = pipe(prompt_embeds=self.states, latents=self.noise, num_inference_steps=STEPS, output_type="pt",
                     guidance_scale=guidance_scale, **more)
        return drawn.images


def w_sinusoid(w, unet):
    """As fewstep's: sine first, base 10000 over half - 1, of scale times w. The pipeline's own has the scale 1000."""
    dim, scale = unet.config.time_cond_proj_dim, unet.config.get("time_cond_proj_scale", 1000.0)
    half = dim // 2
    phase = scale * w[:, None] * torch.exp(-torch.log(torch.tensor(10000.0)) / (half - 1) * torch.arange(half))
    return torch.cat([phase.sin(), phase.cos()], 1)


def as_drawn(picture):
    return (picture / 2 + 0.5).clamp(0, 1)


def load(folder, kind=StableDiffusionPipeline, **more):
    return kind.from_pretrained(folder, safety_checker=None, dtype=torch.float32, **more)


def folders_and_file(case, folder):
    student = folder / "student/models/steps-2"
    output, picture = case.drawn_by_ours(student, W)
    assert case.ours(student, w=torch.full([2], W + 2))[0].sub(output).abs().max() > 1e-3, "w makes no difference"

    pipe = load(student)
    embedding = w_sinusoid(torch.full([2], W), pipe.unet)
    compare("folder, U-Net with w", pipe.unet(case.z, case.time, case.states, timestep_cond=embedding).sample, output)
    compare("folder, picture", case.picture(pipe, 1 + W), as_drawn(picture))

    fewstep("export", "--model", student, "--bake-w", W, "--out", folder / "baked")
    pipe = load(folder / "baked")
    compare("--bake-w, U-Net", pipe.unet(case.z, case.time, case.states).sample, output)
    compare("--bake-w, picture", case.picture(pipe, 1.0), as_drawn(picture))
    compare("--bake-w, our own reading", case.drawn_by_ours(folder / "baked")[1], picture)

    single = folder / "student.safetensors"
    fewstep("export", "--model", student, "--bake-w", W, "--form", "single-file", "--out", single)
    other = StableDiffusionPipeline.from_single_file(
        single, config=str(folder / "baked"), local_files_only=True, dtype=torch.float32, safety_checker=None)
    other.scheduler = DDIMScheduler.from_pretrained(folder / "baked/scheduler")
    compare("single file, U-Net", other.unet(case.z, case.time, case.states).sample, output)
    compare("single file, picture", case.picture(other, 1.0), as_drawn(picture))
    states = lambda pipe: pipe.encode_prompt("a photograph of an orange cat", "cpu", 1, False)[0]  # noqa: E731
    compare("single file, text encoder", states(other), states(pipe))


def low_rank(case, folder):
    student = folder / "lora/models/steps-2"
    fewstep("export", "--model", student, "--form", "lora", "--out", folder / "changes")
    output, picture = case.drawn_by_ours(student, W)
    config = json.loads((student / "unet/config.json").read_text())
    unet = UNet2DConditionModel.from_config(config).eval()
    base = UNet2DConditionModel.from_pretrained(TEACHER / "unet", variant="fp16").float()
    missing, unexpected = unet.load_state_dict(base.state_dict(), strict=False)
    assert missing == ["time_embedding.cond_proj.weight"] and not unexpected, (missing, unexpected)
    unet.load_state_dict(load_file(folder / "changes/w_embedding.safetensors"), strict=False)
    pipe = load(TEACHER, unet=unet, variant="fp16")
    pipe.scheduler = DDIMScheduler.from_pretrained(student / "scheduler")
    embedding = w_sinusoid(torch.full([2], W), unet)
    velocity = lambda: pipe.unet(case.z, case.time, case.states, timestep_cond=embedding).sample  # noqa: E731
    assert (velocity() - output).abs().max() > 1e-3 * output.abs().max(), "the changes make no difference"
    pipe.load_lora_weights(folder / "changes")
    compare("low-rank changes, U-Net", velocity(), output)
    compare("low-rank changes, picture", case.picture(pipe, 1 + W), as_drawn(picture))


def adapter_of_texts(case, folder):
    data = DATA_OF_TEXTS.format(data=folder / "captioned")
    condition = f'{{ kind = "instruct", path = "{folder / "captioned"}" }}'
    codi = recipe(folder, "edits", ADAPTER, teacher=TEACHER, condition=condition, data=data)
    fewstep("distill", codi, "--out", folder / "edits")
    student = folder / "edits/models/codi"
    control_image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    output, picture = case.drawn_by_ours(student, 0.0, control=control_image)
    assert (output - case.ours(student)[0]).abs().max() > 1e-3, "the adapter makes no difference"
    control, info = ControlNetModel.from_pretrained(student / "controlnet", output_loading_info=True)
    assert not any(info.values()), info
    down, middle = control(case.z, case.time, case.states, controlnet_cond=control_image, return_dict=False)
    pipe = load(student, kind=StableDiffusionControlNetPipeline)
    theirs = pipe.unet(case.z, case.time, case.states, down_block_additional_residuals=down,
                       mid_block_additional_residual=middle)
    compare("adapter of a model of texts, as ControlNetModel", theirs.sample, output)
    compare("adapter of a model of texts, picture", case.picture(pipe, 1.0, image=control_image), as_drawn(picture))


def adapter_of_pixels(case, folder):
    fewstep("train", recipe(folder, "pixels", PIXELS, data=DATA_OF_PIXELS.format(data=folder / "classes")), "--out", folder / "pixels")
    teacher = folder / "pixels/models/teacher"
    data = DATA_OF_PIXELS.format(data=folder / "classes")
    codi = recipe(folder, "codi", ADAPTER, teacher=teacher, condition='{ kind = "inpaint" }', data=data)
    fewstep("distill", codi, "--out", folder / "codi")
    student = folder / "codi/models/codi"
    unet = UNet2DModel.from_pretrained(student / "unet")
    config = json.loads((student / "controlnet/config.json").read_text())
    control = ControlNetModel.from_config(config | {"mid_block_type": "UNetMidBlock2D"})
    control.mid_block = UNet2DModel.from_config(unet.config).mid_block
    control.load_state_dict(load_file(student / "controlnet/diffusion_pytorch_model.safetensors"))
    generator = torch.Generator().manual_seed(3)
    z, control_image = torch.randn(2, 3, 16, 16, generator=generator), torch.randn(2, 4, 16, 16, generator=generator)
    classes, nothing = torch.tensor([0.0, 1.0]), torch.zeros(2, 0, 1)
    ours = lambda **more: case.ours(student, z=z, classes=classes, **more)[0]  # noqa: E731
    output = ours(control=control_image)
    assert (output - ours()).abs().max() > 1e-4, "the adapter makes no difference"
    down, middle = control(z, case.time, nothing, control_image, class_labels=classes.long(), return_dict=False)
    added = iter([middle, *reversed(down)])
    # UNet2DModel takes no features from outside: they are added where it hands its own over.
    unet.mid_block.register_forward_hook(lambda _, __, features: features + next(added))

    def skips(block, inputs, named):
        own = named.get("res_hidden_states_tuple") or inputs[1]
        count = len(block.resnets)
        more = [next(added) for _ in range(count)]
        own = own[:-count] + tuple(a + b for a, b in zip(own[-count:], reversed(more)))
        if "res_hidden_states_tuple" in named:
            return inputs, named | {"res_hidden_states_tuple": own}
        return (inputs[0], own, *inputs[2:]), named

    for block in unet.up_blocks:
        block.register_forward_pre_hook(skips, with_kwargs=True)
    theirs = unet(z, case.time, class_labels=classes.long()).sample
    assert next(added, None) is None
    compare("adapter of a model of pixels, with its base's middle", theirs, output)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave all models in this new folder")
    keep = parser.parse_args().keep
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        pictures(folder)
        for name, more in [("student", ""), ("lora", "[lora]\nrank = 2\nalpha = 3.0\n")]:
            path = recipe(folder, name, STUDENT, teacher=TEACHER, data=folder / "captioned", more=more)
            fewstep("distill", path, "--out", folder / name)
        case = Case(folder)
        folders_and_file(case, folder)
        low_rank(case, folder)
        adapter_of_texts(case, folder)
        adapter_of_pixels(case, folder)


if __name__ == "__main__":
    main()
