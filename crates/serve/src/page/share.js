// A request as text for other programs.

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
const short = (body) => Object.fromEntries(Object.entries(body).map(([key, value]) =>
  ['image', 'mask', 'control'].includes(key) ? [key, 'BASE64'] : [key, value]));

/** As a call of curl. A token is not in it. */
export const curl = (body) =>
  `curl ${location.origin}/api/v1/${body.from ? 'restyle' : 'generate'} -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(short(body)))}`;

/** As a command line. `models` are those of the server. */
export function command(body, model, facts, models) {
  let verb = 'sample';
  const words = [];
  const flag = (name, value) => { if (value !== undefined) words.push(`--${name} ${typeof value === 'number' ? value : quoted(value)}`); };
  if (body.from) return restyle(body, models, flag, words);
  if (body.mask) verb = 'inpaint';
  else if (body.control) verb = { upscale: 'upscale', depth: 'depth', instruct: 'instruct' }[facts.control] ?? 'render';
  else if (body.image) verb = 'edit';
  flag('model', model.reference ?? model.name);
  if (body.image || body.control) flag('image', 'IMAGE.png');
  if (body.mask) flag('mask', 'MASK.png');
  flag('prompt', body.prompt);
  flag('negative-prompt', body.negative_prompt);
  flag('class', body.class);
  flag('steps', body.steps);
  flag('sampler', body.sampler);
  flag('w', body.w);
  flag('strength', body.strength);
  flag('seed', body.seed);
  flag('count', body.count);
  if (body.width) flag('size', `${body.height}x${body.width}`);
  flag('out', 'images.png');
  return `fewstep ${verb} ${words.join(' ')}`;
}

function restyle(body, models, flag, words) {
  const reference = (name) => name && (models.find((one) => one.name === name)?.reference ?? name);
  flag('teacher', reference(body.model));
  flag('encoder', reference(body.encoder));
  flag('decoder', reference(body.decoder));
  if (body.model) flag('teacher-steps', body.steps);
  flag('image', 'IMAGE.png');
  flag('from', body.from);
  flag('to', body.to);
  flag('w', body.w);
  flag('out', 'sheet.png');
  return `fewstep restyle ${words.join(' ')}`;
}
