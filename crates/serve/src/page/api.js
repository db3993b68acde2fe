// Requests to the server.

/** An answer of the server that is an error. */
export class Refusal extends Error {}

async function checked(response) {
  if (response.ok) return response;
  let message = `the server answers with ${response.status}`;
  try {
    message = (await response.json()).error.message;
  } catch { /* An answer that is not from this server. */ }
  const wait = response.headers.get('Retry-After');
  throw new Refusal(wait ? `${message} (in ${wait} s)` : message);
}

function post(path, body, signal) {
  const headers = { 'Content-Type': 'application/json' };
  return fetch(path, { method: 'POST', headers, body: JSON.stringify(body), signal }).then(checked);
}

export const models = async () => (await checked(await fetch('/api/v1/models'))).json();

export const load = async (model, steps) =>
  (await post('/api/v1/models/load', { model, ...(steps ? { steps } : {}) })).json();

/** Generates; when `signal` aborts, the server stops at the next step. */
export async function generate(body, signal, onEvent) {
  if (!onEvent) return (await post('/api/v1/generate', body, signal)).json();
  return follow(await post('/api/v1/generate', { ...body, stream: true, previews: true }, signal), onEvent);
}

/** Restyles as a job, which is cancelled when `signal` aborts. */
export async function restyle(body, signal, onEvent) {
  const job = await (await post('/api/v1/jobs/restyle', body)).json();
  const path = `/api/v1/jobs/${job.id}`;
  const cancel = () => fetch(path, { method: 'DELETE' });
  if (signal.aborted) cancel();
  signal.addEventListener('abort', cancel);
  return follow(await checked(await fetch(`${path}/events`, { signal })), onEvent);
}

async function follow(response, onEvent) {
  for await (const { name, data } of events(response.body)) {
    if (name === 'done') return data;
    if (name === 'failed' || name === 'cancelled') throw new Refusal(data.error.message);
    onEvent(name, data);
  }
  throw new Refusal('the server ended the answer early');
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf('\n\n')) >= 0) {
      const lines = text.slice(0, end).split('\n');
      text = text.slice(end + 2);
      const field = (name) => lines.find((line) => line.startsWith(name))?.slice(name.length);
      const data = field('data: ');
      if (data) yield { name: field('event: '), data: JSON.parse(data) };
    }
  }
}
