// Elements from calls, and their renewal in place. A view always describes its whole state; `renew` changes only what
// differs, so that focus, scroll position and open details stay while data arrives.
// Handlers live on the elements as data and are called through one listener at the root, so that they are renewed too.

const SVG = 'http://www.w3.org/2000/svg'
const EVENTS = ['click', 'change', 'submit', 'keydown', 'focusin', 'toggle']

/** An element. `on`: handlers; `style`: CSS properties; `keep`: a name under which `mount` draws into it. */
export function h(tag, props = {}, ...children) {
  return build(document.createElement(tag), props, children)
}

/** The same for SVG. */
export function s(tag, props = {}, ...children) {
  return build(document.createElementNS(SVG, tag), props, children)
}

function build(element, { on, style, mount, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue
    element.setAttribute(name, value === true ? '' : String(value))
  }
  if (on) element.handlers = on
  // Through the object model: the page's policy forbids style attributes.
  for (const [name, value] of Object.entries(style ?? {})) element.style.setProperty(name, value)
  if (mount) element.mount = mount
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false))
  return element
}

/** Calls the handlers of whatever is under `root`, innermost first. */
export function listen(root) {
  for (const type of EVENTS) {
    root.addEventListener(
      type,
      (event) => {
        for (let at = event.target; at && at !== root; at = at.parentNode) {
          if (at.handlers?.[type]?.(event, at) === false) break
        }
      },
      type === 'toggle',
    )
  }
}

/** Makes the children of `root` like `children`, then lets mounted elements draw. */
export function renew(root, ...children) {
  const next = document.createElement(root.localName)
  next.append(...children.flat(Infinity).filter(Boolean))
  renewChildren(root, next)
  for (const element of root.querySelectorAll('[data-mount]')) element.mount?.(element)
}

function renewChildren(old, next) {
  const wanted = [...next.childNodes]
  wanted.forEach((child, i) => {
    const held = old.childNodes[i]
    if (held === undefined) old.append(child)
    else if (isAlike(held, child)) renewNode(held, child)
    else held.replaceWith(child)
  })
  while (old.childNodes.length > wanted.length) old.lastChild.remove()
}

function isAlike(old, next) {
  if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName) return false
  return old.nodeType !== 1 || (old.id === next.id && old.dataset.key === next.dataset.key)
}

function renewNode(old, next) {
  if (old.nodeType !== 1) {
    if (old.data !== next.data) old.data = next.data
    return
  }
  for (const { name } of [...old.attributes]) {
    const own = name === 'style' || (name === 'open' && old.localName === 'details')
    if (!own && !next.hasAttribute(name)) old.removeAttribute(name)
  }
  for (const { name, value } of next.attributes) {
    if (name !== 'style' && old.getAttribute(name) !== value) old.setAttribute(name, value)
  }
  if (!next.dataset.mount && old.style.cssText !== next.style.cssText) old.style.cssText = next.style.cssText
  old.handlers = next.handlers
  old.mount = next.mount
  // What somebody types is theirs until they send it.
  if (old.localName === 'input' || old.localName === 'select') {
    if (document.activeElement !== old) {
      if (old.type === 'checkbox') old.checked = next.checked
      else if (old.localName === 'input') old.value = next.value
    }
  }
  if (next.dataset.mount) return
  renewChildren(old, next)
  if (old.localName === 'select' && document.activeElement !== old) old.value = next.value
}
