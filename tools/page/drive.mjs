// Drives the page of `fewstep serve` in a Chromium and checks what it does:
//
//     apt-get install chromium
//     fewstep serve --model builtin:fashion-mnist --model builtin:fashion-mnist-teacher \
//         --model fill=crates/formats/tests/golden/latent/inpaint --model sdxl=crates/formats/tests/golden/latent/sdxl &
//     node --experimental-websocket tools/page/drive.mjs http://127.0.0.1:7860/ screenshots
//
// Writes screenshots (dark, light, phone and others) into the folder, to be looked at. Exit code 1 if a check fails.
// Newer versions of Node need no flag.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const [address, folder] = process.argv.slice(2);
const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'fewstep-page-'));
const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--no-first-run',
  `--user-data-dir=${profile}`, '--remote-debugging-port=0', 'about:blank'];
const browser = spawn('chromium', flags, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
const port = await new Promise((found) => {
  let text = '';
  browser.stderr.on('data', (data) => {
    text += data;
    const match = text.match(/ws:\/\/[^:]+:(\d+)/);
    if (match) found(match[1]);
  });
});
const tabs = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
const socket = new WebSocket(tabs.find((tab) => tab.type === 'page').webSocketDebuggerUrl);
await new Promise((open) => { socket.onopen = open; });

let last = 0;
const waiting = new Map();
const [messages, foreign, failed] = [[], [], []];
socket.onmessage = ({ data }) => {
  const { id, method, params, result } = JSON.parse(data);
  if (id) waiting.get(id)(result);
  if (method === 'Runtime.exceptionThrown') messages.push(params.exceptionDetails.exception?.description);
  if (method === 'Log.entryAdded') messages.push(params.entry.text);
  if (method === 'Network.requestWillBeSent' && !params.request.url.startsWith('data:') && !params.request.url.startsWith(address)) {
    foreign.push(params.request.url);
  }
};
const send = (method, params = {}) => new Promise((done) => {
  last += 1;
  waiting.set(last, done);
  socket.send(JSON.stringify({ id: last, method, params }));
});

/** Runs code in the page and returns its value. */
async function page(code) {
  const expression = `(async () => { const $ = (id) => document.getElementById(id);
    const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
    const settled = async () => { for (let n = 0; n < 600; n += 1) { await sleep(50); if ($('cancel').disabled) return; } throw new Error('never settled'); };
    const change = async (id, value) => { $(id).value = value; $(id).dispatchEvent(new Event('change')); await sleep(300); await settled(); };
    const drop = async (blob) => {
      const data = new DataTransfer(); data.items.add(new File([blob], 'a.png', { type: 'image/png' }));
      $('image-drop').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })); await sleep(300); };
    const first = () => new Blob([Uint8Array.from(atob(sources('#images')[0].split(',')[1]), (c) => c.charCodeAt(0))]);
    const sources = (place) => [...document.querySelectorAll(place + ' img')].map((image) => image.src);
    ${code} })()`;
  const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description);
  return result.value;
}

function check(name, holds) {
  console.log(`${holds ? 'ok    ' : 'FAILED'} ${name}`);
  if (!holds) failed.push(name);
}

async function open(width, height, scheme) {
  await send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 500 });
  await send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  await send('Page.navigate', { url: address });
  await new Promise((done) => setTimeout(done, 1500));
  await page('await settled();');
}

async function screenshot(name) {
  const { data } = await send('Page.captureScreenshot', { format: 'png' });
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(path.join(folder, `${name}.png`), Buffer.from(data, 'base64'));
}

for (const domain of ['Runtime', 'Log', 'Page', 'Network']) await send(`${domain}.enable`);
try {
  await open(1280, 860, 'light');
  check('images are there at once', await page('return sources("#images").length > 0 && sources("#images").every((s) => s.startsWith("data:image/png"));'));
  await screenshot('light');
  check('images follow the slider, and cancelled requests are no errors', await page(`
    const before = sources('#images').join();
    for (let n = 0; n <= 40; n += 1) { $('w').value = n / 10; $('w').dispatchEvent(new Event('input')); await sleep(15); }
    await settled();
    return sources('#images').join() !== before && $('error').hidden && $('w-value').textContent.includes('4.00');`));
  check('the same seed gives the same images again', await page(`
    const set = async (w) => { $('w').value = w; $('w').dispatchEvent(new Event('change')); await settled(); return sources('#images').join(); };
    const [one, two, again] = [await set(1), await set(3), await set(1)];
    return one === again && one !== two;`));
  check('results stay in the history and come back', await page(`
    const shown = sources('#images')[0];
    document.querySelector('#history button:last-child').click(); await sleep(300);
    return document.querySelectorAll('#history button').length > 1 && sources('#images')[0] !== undefined && shown !== undefined;`));
  check('an error is shown', await page(`
    const real = window.fetch;
    window.fetch = () => Promise.resolve(new Response(JSON.stringify({ error: { message: 'no room' } }), { status: 429, headers: { 'Retry-After': '3' } }));
    $('generate').click(); await sleep(300); window.fetch = real;
    const text = $('error').hidden ? '' : $('error').textContent;
    $('generate').click(); await settled();
    return text === 'no room (in 3 s)' && $('error').hidden;`));
  check('keys work', await page(`
    const press = (key) => document.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
    const seed = $('seed').value;
    document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'r', bubbles: true })); await settled();
    document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'd', bubbles: true }));
    const dark = document.documentElement.dataset.theme === 'dark';
    localStorage.clear();
    return $('seed').value !== seed && dark;`));
  check('the command and the call of curl name the settings', await page(`
    const copied = []; navigator.clipboard.writeText = async (text) => { copied.push(text); };
    $('copy-curl').click(); $('copy-command').click(); await sleep(50);
    return copied[0].includes('/api/v1/generate') && copied[1].startsWith('fewstep sample --model ') && copied[1].includes('--seed');`));
  check('an image can be started from', await page(`
    await drop(first()); await settled();
    const filled = $('image-drop').classList.contains('filled');
    $('image-clear').click(); await settled();
    return filled && $('error').hidden;`));
  await open(1280, 900, 'dark');
  check('side by side has a row for the teacher and each number of steps', await page(`
    $('tab-compare').click(); await sleep(200); await settled();
    const names = [...document.querySelectorAll('.row h3')].map((row) => row.firstChild.textContent);
    return names.length > 4 && names[0] === 'Teacher' && sources('#compare').every(Boolean);`));
  await screenshot('dark');
  check('cancelling ends what runs', await page(`
    await change('model', $('model').options[1].value);
    $('tab-images').click(); $('count').value = 64; $('steps-range').value = 64; $('steps-range').dispatchEvent(new Event('input'));
    $('generate').click(); await sleep(250); $('cancel').click(); await settled();
    return $('status').textContent === 'cancelled';`));
  check('an image becomes one of another class, with a teacher that does both and with a student that decodes', await page(`
    $('count').value = 1; $('steps-range').value = 16; $('steps-range').dispatchEvent(new Event('change')); await settled();
    const image = first();
    $('tab-restyle').click(); await settled();
    const asks = $('status').textContent.startsWith('Give an image');
    await change('from-class', 'T-shirt/top'); await change('to-class', 'Dress');
    await drop(image); await settled();
    const one = sources('#images').join();
    await change('w', 4);
    const two = sources('#images').join();
    await change('model', $('model').options[0].value);
    await drop(image); await settled();
    const three = sources('#images').join();
    return asks && [one, two, three].every(Boolean) && new Set([one, two, three]).size === 3 && $('error').hidden
      && $('status').textContent.includes('→') && $('partner').value === $('model').options[1].value
      && $('class-row').offsetParent === null && document.querySelector('#history button').title.includes('step');`));
  await screenshot('restyle');
  check('a restyled image stays in the history', await page(`
    $('tab-images').click(); await settled();
    document.querySelector('#history button:nth-child(2)').click(); await sleep(500);
    return $('tab-restyle').getAttribute('aria-selected') === 'true' && $('to-class').value === 'Dress' && sources('#images').every(Boolean);`));
  const sdxl = await page(`
    if (![...$('model').options].some((one) => one.value === 'sdxl')) return null;
    await change('model', 'sdxl');
    $('prompt').value = 'a lighthouse'; $('tab-images').click(); $('image-clear').click(); await settled();
    return $('error').hidden && sources('#images').length > 0 && sources('#images').every(Boolean);`);
  if (sdxl !== null) {
    check('SDXL generates from a prompt', sdxl);
    await screenshot('sdxl');
  }
  const painted = await page(`
    const model = [...$('model').options].find((one) => one.value === 'fill');
    if (!model) return null;
    await change('model', 'fill');
    const canvas = document.createElement('canvas'); canvas.width = canvas.height = 16;
    canvas.getContext('2d').fillRect(0, 0, 16, 16);
    const blob = await new Promise((done) => canvas.toBlob(done));
    await drop(blob);
    $('prompt').value = 'a door'; $('brush').value = 60;
    const box = $('canvas').getBoundingClientRect();
    const at = (name, x) => $('canvas').dispatchEvent(new PointerEvent(name, { pointerId: 1, buttons: 1, bubbles: true,
      clientX: box.left + x * box.width, clientY: box.top + box.height / 2 }));
    $('canvas').setPointerCapture = () => {};
    at('pointerdown', 0.3); at('pointermove', 0.5); at('pointerup', 0.6);
    await sleep(200); await settled();
    return $('error').hidden && sources('#images').length > 0 && sources('#images').every(Boolean);`);
  if (painted !== null) {
    check('a painted mask is filled at once', painted);
    await screenshot('mask');
  }
  await send('Page.navigate', { url: `${address}api/v1/docs` });
  await new Promise((done) => setTimeout(done, 800));
  check('the reference shows the routes and their fields, and sends requests', await page(`
    const all = [...document.querySelectorAll('details')];
    const models = all.find((one) => one.id === 'get-/api/v1/models');
    models.open = true;
    models.querySelector('button').click(); await sleep(300);
    return all.length > 6 && document.body.textContent.includes('guidance_scale') && models.querySelector('pre').textContent.startsWith('200');`));
  await screenshot('reference');
  await open(390, 844, 'dark');
  check('nothing is wider than a phone', await page('return document.documentElement.scrollWidth <= 390;'));
  await screenshot('phone');
  check('nothing is loaded from elsewhere', foreign.length === 0);
  check('the console is empty', messages.length === 0);
  if (messages.length) console.log(messages);
} finally {
  process.kill(-browser.pid);
  await new Promise((done) => setTimeout(done, 300));
  fs.rmSync(profile, { recursive: true, force: true });
}
process.exit(failed.length ? 1 : 0);
