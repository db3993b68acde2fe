"""Whether ComfyUI takes the workflows of `export --for comfyui`, and makes of our LoRA the weights of the student.

    pip install -r COMFYUI/requirements.txt
    cargo build --release --bin fewstep
    python3 tools/peers/comfyui_reads.py COMFYUI

COMFYUI is a checkout. Nothing is generated: its detection of models knows no networks as small as those of the tests.

- Each workflow goes through ComfyUI's own validation of prompts, which knows every node, its inputs and their allowed values.
- A tiny student of Stable Diffusion 1 and one of SDXL are trained as LoRA and exported with one w (`--form lora --bake-w`), and a third
  is extracted (`--extract`). ComfyUI's code maps the keys of `kohya.safetensors` to the base's weights and adds them: the result is
  compared with the student's own single file. Keys that it does not load are an error.
"""
import argparse
import asyncio
import contextlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

from PIL import Image
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
FEWSTEP = ROOT / "target/release/fewstep"
GOLDEN = ROOT / "crates/formats/tests/golden/latent"
W, TOLERANCE = 6.5, 1e-5
SCALED = dict(
    _class_name="DDIMScheduler", beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
SCHEDULERS = {
    "eps": SCALED | dict(prediction_type="epsilon"),
    "v": SCALED | dict(prediction_type="v_prediction"),
    "zero-snr": SCALED | dict(prediction_type="v_prediction", rescale_betas_zero_snr=True),
    "lcm": SCALED | dict(_class_name="LCMScheduler", prediction_type="epsilon"),
}
RECIPE = """
seed = 4
teacher = "{teacher}"
w_embedding = {{ dim = 16, scale = 1000.0 }}
[data]
kind = "captioned"
path = "{data}"
size = 16
[guided]
updates = 4
optim = {{ batch = 4, lr = 1e-2 }}
{lora}
"""
LORA = """
[lora]
rank = 2
alpha = 3.0
targets = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "conv1", "time_embedding.linear_1"]
"""


def fewstep(*words):
    done = subprocess.run([FEWSTEP, *map(str, words)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)


def with_scheduler(folder, base, name):
    model = folder / f"teacher-{base}-{name}"
    shutil.copytree(GOLDEN / base, model)
    (model / "scheduler/scheduler_config.json").write_text(json.dumps(SCHEDULERS[name]))
    return model


async def workflows(folder, comfyui):
    import execution
    import nodes

    await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)
    # The loader lists what is there.
    checkpoint = comfyui / "models/checkpoints/model.safetensors"
    made = not checkpoint.exists()
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.touch()
    try:
        for base in ["sd1", "sd2", "sdxl"]:
            for name in SCHEDULERS:
                out = folder / f"workflow-{base}-{name}"
                fewstep("export", "--model", with_scheduler(folder, base, name), "--for", "comfyui", "--out", out)
                workflow = json.loads((out / "workflow_api.json").read_text())
                valid, error, _, of_nodes = await execution.validate_prompt("check", workflow, None)
                print(f"workflow of {base}, {name}: {'valid' if valid else 'refused'}", flush=True)
                assert valid, (error, of_nodes)
    finally:
        if made:
            checkpoint.unlink()


def network_as_comfyui_has_it(file, unet):
    """What its code asks a loaded model: the weights under its names, and the shape of the U-Net."""
    prefix = "model."
    tensors = {name.removeprefix(prefix): value.float() for name, value in load_file(file).items()
               if name.startswith("model.diffusion_model.")}
    levels = [kind.startswith("CrossAttn") for kind in unet["down_block_types"]]
    depths = unet.get("transformer_layers_per_block", 1)
    depths = depths if isinstance(depths, list) else [depths] * len(levels)
    depths = [depth * attends for depth, attends in zip(depths, levels)]
    layers = unet["layers_per_block"]
    config = dict(
        num_res_blocks=[layers] * len(levels), channel_mult=[width // unet["block_out_channels"][0] for width in unet["block_out_channels"]],
        transformer_depth=[depth for depth in depths for _ in range(layers)],
        transformer_depth_output=[depth for depth in depths for _ in range(layers + 1)],
        transformer_depth_middle=depths[-1] or 1)
    return types.SimpleNamespace(state_dict=lambda: tensors, model_config=types.SimpleNamespace(unet_config=config))


def loras(folder):
    import comfy.lora
    import comfy.lora_convert

    captioned = folder / "captioned"
    captioned.mkdir()
    for number in range(4):
        Image.effect_noise((16, 16), 90 + number).convert("RGB").save(captioned / f"{number}.png")
        (captioned / f"{number}.txt").write_text(f"image {number}")
    for base in ["sd1", "sdxl"]:
        for way in ["trained", "extracted"]:
            teacher = folder / f"teacher-{base}-eps"
            recipe, run, out = (folder / f"{base}-{way}{end}" for end in [".toml", "", "-lora"])
            recipe.write_text(RECIPE.format(teacher=teacher, data=captioned, lora=LORA if way == "trained" else ""))
            fewstep("distill", recipe, "--out", run)
            how = ["--base", teacher, "--extract", 64] if way == "extracted" else []
            fewstep("export", "--model", run / "models/guided", "--bake-w", W, "--form", "lora", *how, "--out", out)
            files = []
            for model, bake in [(teacher, []), (run / "models/guided", ["--bake-w", W])]:
                files.append(folder / f"{base}-{way}-{model.name}.safetensors")
                fewstep("export", "--model", model, *bake, "--form", "single-file", "--precision", "f32", "--out", files[-1])
            unet = json.loads((teacher / "unet/config.json").read_text())
            network, student = (network_as_comfyui_has_it(file, unet) for file in files)
            keys = comfy.lora.model_lora_keys_unet(network, {})
            lora = comfy.lora_convert.convert_lora(load_file(out / "kohya.safetensors"))
            with not_loaded() as left:
                patches = comfy.lora.load_lora(lora, keys)
            assert not left, left
            before, after, moved = network.state_dict(), student.state_dict(), 0.0
            error = 0.0
            for name, weight in before.items():
                patched = weight.clone()
                if name in patches:
                    patched = comfy.lora.calculate_weight([(1.0, patches[name], 1.0, None, None)], patched, name)
                error = max(error, (patched - after[name]).abs().max().item())
                moved = max(moved, (weight - after[name]).abs().max().item())
            print(f"LoRA of {base}, {way}: {len(patches)} weights, which differ from the student's by {error:.1e}, "
                  f"and the base's by {moved:.1e}", flush=True)
            assert error < TOLERANCE < moved / 100


@contextlib.contextmanager
def not_loaded():
    """What ComfyUI warns of."""
    left, handler = [], logging.Handler()
    handler.emit = lambda record: left.append(record.getMessage())
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield left
    finally:
        logging.getLogger().removeHandler(handler)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comfyui", type=Path)
    comfyui = parser.parse_args().comfyui.resolve()
    # ComfyUI reads the command line itself.
    sys.argv = ["main.py", "--cpu"]
    sys.path.insert(0, str(comfyui))
    import comfy.options

    comfy.options.enable_args_parsing()
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(workflows(Path(scratch), comfyui))
        loras(Path(scratch))


if __name__ == "__main__":
    main()
