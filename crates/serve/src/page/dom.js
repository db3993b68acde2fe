// Small helpers for the document.

export const $ = (id) => document.getElementById(id);

export function show(id, shown) {
  $(id).hidden = !shown;
  $(id).classList.toggle('hidden', !shown);
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** A row of buttons of which one is pressed. */
export function choice(id, options, target, key, changed) {
  const buttons = options.map(([name, value]) => {
    const pressed = String(target[key] === value);
    const press = () => {
      target[key] = value;
      for (const [at, button] of buttons.entries()) {
        button.setAttribute('aria-pressed', String(options[at][1] === value));
      }
      changed();
    };
    return element('button', { type: 'button', 'aria-pressed': pressed, onclick: press }, name);
  });
  $(id).replaceChildren(...buttons);
}
