// Images on the page: results, previews, downloads, the history.

import { $, element, show } from './dom.js';

const url = (data, format = 'png') => `data:image/${format};base64,${data}`;
const plain = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '').slice(0, 40);
const fileName = (image, format) => `${plain(image.class ?? image.prompt ?? '') || 'image'}-${image.seed}-${image.index}.${format}`;

/** Makes room for so many images in a place, and keeps those that are there until others come. */
export function reserve(place, count, width, height) {
  place.style.setProperty('--ratio', `${width} / ${height}`);
  place.style.setProperty('--side', `${Math.min(Math.max(width, 128), 320)}px`);
  place.style.setProperty('--columns', count);
  while (place.children.length > count) place.lastChild.remove();
  while (place.children.length < count) {
    place.append(element('figure', {}, element('img', { alt: '' }), element('figcaption')));
  }
}

export function showPreview(place, number, data) {
  const figure = place.children[number];
  if (!figure) return;
  figure.classList.add('preview');
  figure.firstChild.src = url(data);
}

export function showResult(place, reply) {
  for (const [number, image] of reply.images.entries()) {
    const figure = place.children[number];
    const name = image.class ?? image.prompt ?? '';
    figure.classList.remove('preview');
    figure.firstChild.src = url(image.data, reply.format);
    figure.firstChild.alt = name || `image ${image.index} of seed ${image.seed}`;
    figure.title = image.parameters;
    const link = { href: url(image.data, reply.format), download: fileName(image, reply.format), 'aria-label': 'Download', title: 'Download' };
    figure.lastChild.replaceChildren(
      element('span', {}, name || `${image.seed}.${image.index}`),
      element('a', link, '↓'),
    );
  }
}

export function downloadAll(place) {
  for (const link of place.querySelectorAll('a[download]')) link.click();
}

const past = [];

/** Remembers a result, to go back to. */
export function remember(model, body, reply, restore) {
  const key = JSON.stringify(body);
  if (past[0]?.key === key) return;
  past.unshift({ key, model, body, reply });
  past.length = Math.min(past.length, 30);
  show('history-part', true);
  $('history').replaceChildren(...past.map((one) => {
    const { images, format, steps } = one.reply;
    const w = images[0].w === null ? '' : ` · w ${images[0].w}`;
    const label = `${steps} step${steps === 1 ? '' : 's'}${w}`;
    return element('button', { type: 'button', title: `${one.model}: ${label}`, onclick: () => restore(one) },
      element('img', { src: url(images[0].data, format), alt: '' }), element('span', {}, label));
  }));
}
