// Clients from npm against a running `fewstep serve`, started as serve_clients.py says. In a folder with the packages:
//
//     npm install openai ai @ai-sdk/openai-compatible
//     node /path/to/tools/peers/serve_clients.mjs http://127.0.0.1:7860

import assert from 'node:assert';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const url = process.argv[2].replace(/\/$/, '');
const here = createRequire(path.join(process.cwd(), 'clients.cjs'));
const load = (name) => import(pathToFileURL(here.resolve(name)));

// --- openai --------------------------------------------------------------------------------------
const { default: OpenAI, toFile } = await load('openai');
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'unused' });
const names = [];
for await (const model of client.models.list()) names.push(model.id);
assert.deepEqual(names, ['fashion-mnist', 'fashion-mnist-teacher', 'fill']);
const reply = await client.images.generate({ model: 'fashion-mnist', prompt: 'a bag', n: 2, w: 2, steps: 4, seed: 7 });
assert.equal(reply.data.length, 2);
const stream = await client.images.generate({
  model: 'fashion-mnist-teacher', prompt: 'a bag', stream: true, partial_images: 2, steps: 60,
});
const events = [];
for await (const event of stream) events.push(event.type);
assert.deepEqual(events, ['image_generation.partial_image', 'image_generation.partial_image', 'image_generation.completed']);
const image = await toFile(Buffer.from(reply.data[0].b64_json, 'base64'), 'bag.png', { type: 'image/png' });
const edited = await client.images.edit({ model: 'fashion-mnist', prompt: 'a sneaker', image });
assert.ok(edited.data[0].b64_json);
await assert.rejects(client.images.generate({ model: 'dall-e-3', prompt: 'a bag' }), (error) => error.status === 404 && error.param === 'model');
console.log('openai: models, generate, stream, edit, error');

// --- @ai-sdk/openai-compatible --------------------------------------------------------------------
const { createOpenAICompatible } = await load('@ai-sdk/openai-compatible');
const { generateImage, experimental_generateImage: earlier } = await load('ai');
const provider = createOpenAICompatible({ name: 'fewstep', baseURL: `${url}/v1` });
const make = generateImage ?? earlier;
const { images } = await make({
  model: provider.imageModel('fashion-mnist'), prompt: 'an ankle boot', n: 3, size: '32x32',
  providerOptions: { fewstep: { seed: 4, steps: 4, w: 1 } },
});
assert.equal(images.length, 3);
assert.equal(Buffer.from(images[0].base64, 'base64').subarray(1, 4).toString(), 'PNG');
console.log('@ai-sdk/openai-compatible: generate');
