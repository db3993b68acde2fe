"""Clients that people have, against a running `fewstep serve`:

    pip install openai webuiapi litellm pillow
    fewstep serve --model builtin:fashion-mnist --model builtin:fashion-mnist-teacher \
        --model fill=crates/formats/tests/golden/latent/inpaint &
    python tools/peers/serve_clients.py http://127.0.0.1:7860

`serve_clients.mjs` does the same with clients from npm, and schemathesis finds what no client sends:

    pip install schemathesis
    schemathesis run http://127.0.0.1:7860/api/v1/openapi.json --checks not_a_server_error
"""

import base64
import io
import os
import sys
import threading
import time

import openai
import webuiapi
from PIL import Image

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm  # noqa: E402

url = sys.argv[1].rstrip("/")


def png(image, name):
    """An image as an open file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    file.name = name
    file.seek(0)
    return file


def opened(data):
    return Image.open(io.BytesIO(base64.b64decode(data)))


# --- openai ---------------------------------------------------------------------------------------
client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused")
names = [model.id for model in client.models.list()]
assert names == ["fashion-mnist", "fashion-mnist-teacher", "fill"], names
assert client.models.retrieve("fill").id == "fill"
reply = client.images.generate(
    model="fashion-mnist", prompt="a bag", n=2, extra_body={"w": 2, "steps": 4, "seed": 7}
)
assert len(reply.data) == 2 and reply.size == "32x32" and reply.usage.total_tokens == 0
again = client.images.generate(
    model="fashion-mnist", prompt="a bag", extra_body={"guidance_scale": 3, "num_inference_steps": 4, "seed": 7},
    output_format="webp",
)
assert opened(again.data[0].b64_json).format == "WEBP"
stream = client.images.generate(
    model="fashion-mnist-teacher", prompt="a bag", stream=True, partial_images=2, extra_body={"steps": 60}
)
events = list(stream)
kinds = [event.type for event in events]
assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"], kinds
assert events[0].partial_image_index == 0 and events[-1].usage.total_tokens == 0
grey = png(Image.new("RGB", (64, 64), (90, 90, 90)), "grey.png")
reply = client.images.edit(model="fashion-mnist", image=grey, prompt="bag", extra_body={"steps": 4})
assert reply.data[0].b64_json
mask = Image.new("RGBA", (16, 16), (0, 0, 0, 255))
mask.paste((0, 0, 0, 0), (0, 0, 16, 8))
image = Image.new("RGB", (16, 16), (90, 90, 90))
edit = dict(model="fill", prompt="a door", size="16x16", extra_body={"steps": 2, "seed": 3})
reply = client.images.edit(image=png(image, "image.png"), mask=png(mask, "mask.png"), **edit)
filled = opened(reply.data[0].b64_json).convert("RGB")
assert all(filled.getpixel((x, y)) == (90, 90, 90) for x in range(16) for y in range(8, 16))
assert any(filled.getpixel((x, y)) != (90, 90, 90) for x in range(16) for y in range(8))
events = list(client.images.edit(
    image=[png(image, "image.png")], mask=png(mask, "mask.png"), stream=True, partial_images=1, **edit
))
assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
try:
    client.images.generate(model="dall-e-3", prompt="a bag")
    raise AssertionError("an unknown model is refused")
except openai.NotFoundError as error:
    assert "no model `dall-e-3`" in error.body["message"] and error.param == "model"
try:
    client.images.generate(model="fashion-mnist", prompt="")
    raise AssertionError("an empty prompt is refused")
except openai.BadRequestError as error:
    assert "Ankle boot" in error.body["message"] and error.param == "prompt"
print(f"openai {openai.__version__}: models, generate, stream, edit, mask, errors")

# --- litellm --------------------------------------------------------------------------------------
access = dict(api_base=f"{url}/v1", api_key="unused")
reply = litellm.image_generation(model="openai/fashion-mnist", prompt="a sneaker", n=2, **access)
assert len(reply.data) == 2 and opened(reply.data[0].b64_json).size == (32, 32)
reply = litellm.image_edit(
    model="openai/fill", image=png(image, "image.png"), mask=png(mask, "mask.png"), prompt="a door", size="16x16",
    **access,
)
assert opened(reply.data[0].b64_json).size == (16, 16)
print("litellm: generate, edit")

# --- webuiapi -------------------------------------------------------------------------------------
host, port = url.split("//")[1].split(":")
api = webuiapi.WebUIApi(host=host, port=int(port))
reply = api.txt2img(prompt="a sneaker", negative_prompt="ugly", seed=5, steps=20, cfg_scale=7)
assert reply.image.size == (32, 32) and reply.info["seed"] == 5 and reply.info["steps"] == 8, reply.info
changed = api.img2img(images=[reply.image.convert("RGB")], prompt="a bag", denoising_strength=0.5)
assert changed.image.size == (32, 32)
larger = api.extra_single_image(image=reply.image, upscaling_resize=2)
assert larger.image.size == (64, 64)
assert "Steps: 8" in api.png_info(reply.image).info
assert api.get_options()["sd_model_checkpoint"] == "fashion-mnist"
assert "ddim" in api.util_get_sampler_names()
for lists in [
    api.get_cmd_flags, api.get_samplers, api.get_sd_vae, api.get_upscalers, api.get_latent_upscale_modes, api.get_loras,
    api.get_sd_models, api.get_hypernetworks, api.get_face_restorers, api.get_realesrgan_models,
    api.get_prompt_styles, api.get_embeddings, api.get_memory, api.get_scripts, api.refresh_checkpoints,
]:
    lists()
api.util_set_model("fashion-mnist-teacher")
assert api.util_get_current_model() == "fashion-mnist-teacher"
interrupted = []
work = lambda: interrupted.append(api.txt2img(prompt="bag", steps=240, batch_size=8))
thread = threading.Thread(target=work)
thread.start()
while api.get_progress()["state"]["sampling_step"] == 0:
    time.sleep(0.02)
api.interrupt()
thread.join()
assert interrupted[0].images == []
api.util_set_model("fashion-mnist")
print("webuiapi: txt2img, img2img, extras, lists, options, progress, interrupt")
