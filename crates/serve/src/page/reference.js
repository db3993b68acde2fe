// The reference of the API, from its OpenAPI document.

import { $, element } from './dom.js';

let parts = {};

const resolved = (schema) => (schema?.$ref ? parts[schema.$ref.split('/').pop()] : schema) ?? {};

/** A description, with code where it has backticks. */
const words = (text = '') => text.split('`').map((part, at) => (at % 2 ? element('code', {}, part) : part));

/** A type in a few words. */
function kind(schema) {
  const its = resolved(schema);
  const choices = its.oneOf ?? its.anyOf;
  if (choices) return [...new Set(choices.map(kind).filter(Boolean))].join(' or ');
  const types = [its.type ?? []].flat().filter((type) => type !== 'null');
  return types.map((type) => (type === 'array' ? `list of ${kind(its.items) || 'values'}` : type)).join(' or ');
}

/** The fields of an object, and below each the fields of what it holds. */
function fields(schema, depth = 0) {
  const { properties = {}, required = [] } = resolved(schema);
  return Object.entries(properties).flatMap(([name, its]) => {
    const type = kind(its);
    const inner = resolved(resolved(its).items ?? (its.oneOf ?? []).find((one) => one.$ref) ?? its);
    const label = element('td', {}, element('code', {}, name), required.includes(name) && depth === 0 ? ' *' : '');
    label.style.paddingLeft = `${depth * 18}px`;
    const row = element('tr', {}, label, element('td', {}, type), element('td', {}, ...words(its.description)));
    return [row, ...(inner.properties && depth < 3 ? fields(inner, depth + 1) : [])];
  });
}

const table = (title, schema) => {
  const rows = fields(schema);
  return rows.length ? [element('h3', {}, title), element('table', {}, element('tbody', {}, ...rows))] : [];
};

/** A request that can be changed and sent. */
function trial(method, path, body) {
  const address = element('input', { type: 'text', value: path, 'aria-label': 'Path' });
  const text = element('textarea', { rows: 4, 'aria-label': 'Body', spellcheck: 'false' });
  text.value = body ? '{}' : '';
  const answer = element('pre', { 'aria-live': 'polite' });
  const send = async () => {
    answer.textContent = '…';
    const headers = body ? { 'Content-Type': 'application/json' } : {};
    try {
      const response = await fetch(address.value, { method, headers, body: body ? text.value : undefined });
      const shown = await response.text();
      // Images in base64 are long.
      const short = shown.replace(/"([A-Za-z0-9+/=]{200})[A-Za-z0-9+/=]*"/g, '"$1..."');
      answer.textContent = `${response.status} ${response.statusText}\n${short.slice(0, 20000)}`;
    } catch (error) {
      answer.textContent = String(error);
    }
  };
  return [element('h3', {}, 'Try it'), element('div', { class: 'trial' }, address, ...(body ? [text] : []),
    element('button', { type: 'button', class: 'main', onclick: send }, 'Send')), answer];
}

function route(path, method, its) {
  const body = its.requestBody?.content['application/json']?.schema;
  const answers = Object.entries(its.responses ?? {});
  const good = answers.find(([status]) => status.startsWith('2'))?.[1];
  const result = good?.content?.['application/json']?.schema;
  return element('details', { id: `${method}-${path}` },
    element('summary', {}, element('b', { class: method }, method.toUpperCase()), element('code', {}, path), element('span', {}, ...words(its.summary))),
    element('p', {}, ...words(its.description ?? its.summary)),
    ...(body ? table('Body', body) : []),
    ...(result ? table('Answer', result) : []),
    element('h3', {}, 'Status'),
    element('table', {}, element('tbody', {}, ...answers.map(([status, answer]) =>
      element('tr', {}, element('td', {}, element('code', {}, status)), element('td', {}, answer.description || 'done'))))),
    ...trial(method.toUpperCase(), path, body));
}

const response = await fetch('/api/v1/openapi.json');
if (!response.ok) {
  $('about').textContent = `The server answers with ${response.status}.`;
} else {
  const its = await response.json();
  parts = its.components.schemas;
  $('about').textContent = its.info.description;
  for (const [path, methods] of Object.entries(its.paths)) {
    for (const [method, operation] of Object.entries(methods)) $('routes').append(route(path, method, operation));
  }
}
