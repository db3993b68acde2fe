// The image that a request starts from: dropped, painted on for a mask, or a control image.

import { $, show } from './dom.js';

const NAMES = {
  mask: ['Fill a part of an image', 'Drop an image, then paint what to fill'],
  upscale: ['Enlarge an image', 'Drop the small image'],
  depth: ['Follow a depth map', 'Drop a depth map'],
  instruct: ['Change an image', 'Drop the image to change'],
  image: ['Follow an image', 'Drop edges, a sketch, or what the model has learnt'],
  start: ['Start from an image', 'Drop an image, or click'],
  restyle: ['Restyle an image', 'Drop an image, or click'],
};
/** Longer sides are made smaller before they are sent. */
const LONGEST = 1536;

let use = null;
let source = null;
let mask = null;
let changed = () => {};

function draw() {
  const canvas = $('canvas');
  const filled = source !== null;
  $('image-drop').classList.toggle('filled', filled);
  $('image-drop').classList.toggle('paints', filled && use === 'mask');
  show('image-buttons', filled);
  show('mask-clear', filled && use === 'mask');
  show('brush-row', filled && use === 'mask');
  show('strength-row', filled && use === 'start');
  if (!filled) return;
  [canvas.width, canvas.height] = [source.width, source.height];
  const context = canvas.getContext('2d');
  context.drawImage(source, 0, 0);
  if (use === 'mask') {
    context.globalAlpha = 0.6;
    context.drawImage(tinted(mask), 0, 0);
    context.globalAlpha = 1;
  }
}

/** The mask in the colour that it is shown in. */
function tinted(of) {
  const made = blank(of.width, of.height);
  const context = made.getContext('2d');
  context.drawImage(of, 0, 0);
  context.globalCompositeOperation = 'source-in';
  context.fillStyle = '#ff3d7f';
  context.fillRect(0, 0, of.width, of.height);
  return made;
}

function blank(width, height) {
  const made = document.createElement('canvas');
  [made.width, made.height] = [width, height];
  return made;
}

async function take(file) {
  if (!file) return;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    $('image-hint').textContent = 'That is no image';
    return;
  }
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  source = blank(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
  source.getContext('2d').drawImage(bitmap, 0, 0, source.width, source.height);
  mask = blank(source.width, source.height);
  draw();
  if (use !== 'mask') changed();
}

function paint(event) {
  const canvas = $('canvas');
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  const context = mask.getContext('2d');
  context.fillStyle = '#fff';
  context.beginPath();
  context.arc(x, y, Number($('brush').value) * scale / 2, 0, 2 * Math.PI);
  context.fill();
  draw();
}

function overBlack(of) {
  const made = blank(of.width, of.height);
  const context = made.getContext('2d');
  context.fillRect(0, 0, of.width, of.height);
  context.drawImage(of, 0, 0);
  return made;
}

const base64 = (canvas) => canvas.toDataURL('image/png').split(',')[1];

export const input = {
  /** Sets up the place for what a model takes, or for an image to restyle. */
  offer(facts, restyles = false) {
    use = restyles ? 'restyle' : facts.mask ? 'mask' : facts.control ?? (facts.image ? 'start' : null);
    show('image-row', use !== null);
    if (!use) source = null;
    else [$('image-name').textContent, $('image-hint').textContent] = NAMES[use] ?? NAMES.image;
    draw();
  },

  /** The fields of a request. */
  fields() {
    if (!source) return {};
    if (use === 'mask') return { image: base64(source), mask: base64(overBlack(mask)) };
    if (use === 'restyle') return { image: base64(source) };
    if (use === 'start') return { image: base64(source), strength: Number($('strength').value) };
    return { control: base64(source) };
  },

  /** Starts to listen. */
  listen(onchange) {
    changed = onchange;
    const drop = $('image-drop');
    const choose = () => { if (!source) $('image-file').click(); };
    drop.addEventListener('click', choose);
    drop.addEventListener('keydown', (event) => { if (event.key === 'Enter') choose(); });
    $('image-file').addEventListener('change', (event) => { take(event.target.files[0]); event.target.value = ''; });
    for (const name of ['dragover', 'dragleave', 'drop']) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.toggle('over', name === 'dragover');
        if (name === 'drop') take(event.dataTransfer.files[0]);
      });
    }
    document.addEventListener('paste', (event) => {
      const file = [...event.clipboardData.files].find((one) => one.type.startsWith('image/'));
      if (file && use) take(file);
    });
    const canvas = $('canvas');
    canvas.addEventListener('pointerdown', (event) => {
      if (use !== 'mask') return;
      canvas.setPointerCapture(event.pointerId);
      paint(event);
    });
    canvas.addEventListener('pointermove', (event) => { if (use === 'mask' && event.buttons) paint(event); });
    canvas.addEventListener('pointerup', () => { if (use === 'mask') changed(); });
    $('image-clear').addEventListener('click', () => { source = null; draw(); changed(); });
    $('mask-clear').addEventListener('click', () => { mask = blank(source.width, source.height); draw(); });
  },
};
