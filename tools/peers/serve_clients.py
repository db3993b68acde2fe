"""Clients that people have, against a running `fewstep serve`:

    pip install openai webuiapi pillow
    fewstep serve --address 127.0.0.1:7860 &
    python tools/peers/serve_clients.py http://127.0.0.1:7860
"""

import io
import sys
import threading
import time

import openai
import webuiapi
from PIL import Image

url = sys.argv[1].rstrip("/")

# --- openai ---------------------------------------------------------------------------------------
client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused")
names = [model.id for model in client.models.list()]
assert names == ["fashion-mnist", "fashion-mnist-teacher"], names
reply = client.images.generate(
    model="fashion-mnist", prompt="a bag", n=2, extra_body={"w": 2, "steps": 4, "seed": 7}
)
assert len(reply.data) == 2 and reply.size == "32x32" and reply.usage.total_tokens == 0
stream = client.images.generate(
    model="fashion-mnist-teacher", prompt="a bag", stream=True, partial_images=2, extra_body={"steps": 60}
)
events = [event.type for event in stream]
assert events == ["image_generation.partial_image"] * 2 + ["image_generation.completed"], events
png = io.BytesIO()
Image.new("RGB", (64, 64), (90, 90, 90)).save(png, "PNG")
png.name = "grey.png"
png.seek(0)
reply = client.images.edit(model="fashion-mnist", image=png, prompt="bag", extra_body={"steps": 4})
assert reply.data[0].b64_json
try:
    client.images.generate(model="dall-e-3", prompt="a bag")
    raise AssertionError("an unknown model is refused")
except openai.NotFoundError as error:
    assert "no model `dall-e-3`" in error.body["message"]
print(f"openai {openai.__version__}: models, generate, stream, edit, error")

# --- webuiapi -------------------------------------------------------------------------------------
host, port = url.split("//")[1].split(":")
api = webuiapi.WebUIApi(host=host, port=int(port))
reply = api.txt2img(prompt="a sneaker", negative_prompt="ugly", seed=5, steps=20, cfg_scale=7)
assert reply.image.size == (32, 32) and reply.info["seed"] == 5 and reply.info["steps"] == 8, reply.info
changed = api.img2img(images=[reply.image.convert("RGB")], prompt="a bag", denoising_strength=0.5)
assert changed.image.size == (32, 32)
assert api.get_options()["sd_model_checkpoint"] == "fashion-mnist"
assert "ddim" in api.util_get_sampler_names()
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
print("webuiapi: txt2img, img2img, options, progress, interrupt")
