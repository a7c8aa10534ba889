// The default export runs at each rerun of the script. The list object persists, one per mounted component.
const lists = new WeakMap()

export default function (component) {
  const { parentElement, data, setStateValue } = component
  let list = lists.get(parentElement)
  if (!list) {
    list = new SortableList(parentElement)
    lists.set(parentElement, list)
  }
  list.send = moved => setStateValue("moved", moved)
  list.receive(data)
  return () => {
    list.cancel()
    lists.delete(parentElement)
  }
}

class SortableList {
  constructor(root) {
    this.root = root
    this.list = root.querySelector(".cards")
    this.status = root.querySelector("[role=status]")
    this.revision = 0
    this.grab = null // {card, before: ids, and for a pointer: id, startY, moving}
    this.waiting = null // data that arrived while a card was held
    this.list.onkeydown = event => this.onKey(event)
    this.list.onclick = event => this.onClick(event)
    this.list.onpointerdown = event => this.onPointerDown(event)
    this.list.onpointermove = event => this.onPointerMove(event)
    this.list.onpointerup = event => this.onPointerUp(event)
    this.list.onpointercancel = () => this.cancel()
    this.list.onfocusout = event => {
      if (this.grab?.card === event.target && this.grab.pointer === undefined) this.drop()
    }
  }

  get cards() {
    return [...this.list.children]
  }

  get ids() {
    return this.cards.map(card => card.dataset.id)
  }

  // --- data from Python ---

  receive(data) {
    if (this.grab) {
      this.waiting = data
      return
    }
    const cards = new Map(this.cards.map(card => [card.dataset.id, card]))
    for (const item of data.items) {
      if (!cards.has(item.id)) cards.set(item.id, this.list.appendChild(this.create(item.id)))
      this.describe(cards.get(item.id), item)
    }
    const known = new Set(data.items.map(item => item.id))
    for (const [id, card] of cards) if (!known.has(id)) card.remove()
    // A reply to an earlier move must not undo the last move.
    if (data.revision >= this.revision) {
      this.revision = data.revision
      this.arrange(data.items.map(item => item.id))
    }
    this.label()
  }

  create(id) {
    const card = document.createElement("li")
    card.className = "card"
    card.tabIndex = 0
    card.dataset.id = id
    card.setAttribute("aria-roledescription", "sortable card")
    card.setAttribute("aria-describedby", "how")
    card.innerHTML =
      '<span class="handle" aria-hidden="true"></span>' +
      '<div class="text"><div class="title"></div><div class="caption"></div></div>' +
      '<div class="buttons"><button type="button" data-step="-1">↑</button>' +
      '<button type="button" data-step="1">↓</button></div>'
    return card
  }

  describe(card, { title, caption }) {
    card.querySelector(".title").textContent = title
    card.querySelector(".caption").textContent = caption
    card.querySelector("[data-step='-1']").ariaLabel = `Move ${title} up`
    card.querySelector("[data-step='1']").ariaLabel = `Move ${title} down`
  }

  label() {
    const cards = this.cards
    cards.forEach((card, place) => {
      card.ariaLabel = `${this.name(card)}, ${place + 1} of ${cards.length}`
      // Not `disabled`: a disabled button would lose the focus.
      card.querySelector("[data-step='-1']").ariaDisabled = String(place === 0)
      card.querySelector("[data-step='1']").ariaDisabled = String(place === cards.length - 1)
    })
  }

  // --- order ---

  // A moved node loses the focus, so the other nodes are moved around the focused card.
  arrange(ids) {
    const cards = new Map(this.cards.map(card => [card.dataset.id, card]))
    const fixed = this.root.activeElement?.closest(".card") ?? this.cards[0]
    if (ids.join("\n") === this.ids.join("\n") || !fixed) return
    const place = ids.indexOf(fixed.dataset.id)
    ids.slice(0, place).forEach(id => this.list.insertBefore(cards.get(id), fixed))
    ids.slice(place + 1).forEach(id => this.list.append(cards.get(id)))
  }

  shift(card, step) {
    const ids = this.ids
    const from = ids.indexOf(card.dataset.id)
    const to = from + step
    if (to < 0 || to >= ids.length) {
      this.say(`${this.name(card)} is already ${step < 0 ? "first" : "last"}.`)
      return false
    }
    ids.splice(to, 0, ...ids.splice(from, 1))
    this.arrange(ids)
    this.label()
    this.say(`${this.name(card)} is now ${to + 1} of ${ids.length}.`)
    card.scrollIntoView({ block: "nearest" })
    return true
  }

  commit() {
    this.revision += 1
    this.send({ ids: this.ids, revision: this.revision })
  }

  // --- holding a card ---

  hold(card, pointer) {
    this.grab = { card, before: this.ids, ...pointer }
    if (!pointer) {
      card.classList.add("grabbed")
      this.say(`${this.name(card)} grabbed. Press the arrow keys to move it, Space to drop it, Escape to put it back.`)
    }
  }

  drop() {
    const { card, before } = this.grab
    this.letGo()
    const ids = this.ids
    this.say(`${this.name(card)} dropped at ${ids.indexOf(card.dataset.id) + 1} of ${ids.length}.`)
    if (ids.join("\n") !== before.join("\n")) this.commit()
    this.catchUp()
  }

  cancel() {
    if (!this.grab) return
    const { card, before } = this.grab
    this.letGo()
    this.arrange(before)
    this.label()
    this.say(`${this.name(card)} put back.`)
    this.catchUp()
  }

  letGo() {
    this.grab.card.classList.remove("grabbed")
    this.list.classList.remove("dragging")
    for (const card of this.cards) card.style.transform = ""
    this.grab = null
  }

  catchUp() {
    const data = this.waiting
    this.waiting = null
    if (data) this.receive(data)
  }

  // --- keyboard and buttons ---

  onKey(event) {
    const card = event.target
    if (event.key === "Escape" && this.grab) {
      event.preventDefault()
      this.cancel()
      return
    }
    const dragged = this.grab && this.grab.pointer !== undefined
    if (!card.classList.contains("card") || event.ctrlKey || event.metaKey || dragged) return
    const held = this.grab?.card === card
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key]
    if (step) {
      event.preventDefault()
      if (held) this.shift(card, step)
      else if (event.altKey) this.shift(card, step) && this.commit()
      else (step < 0 ? card.previousElementSibling : card.nextElementSibling)?.focus()
    } else if (event.key === " " || (event.key === "Enter" && held)) {
      event.preventDefault()
      if (held) this.drop()
      else if (!this.grab) this.hold(card)
    }
  }

  onClick(event) {
    const button = event.target.closest("button")
    if (button && !this.grab && this.shift(button.closest(".card"), Number(button.dataset.step))) this.commit()
  }

  // --- mouse and touch ---

  onPointerDown(event) {
    const card = event.target.closest(".card")
    if (!card || event.button !== 0 || event.target.closest("button")) return
    if (event.pointerType === "touch" && !event.target.closest(".handle")) return
    if (this.grab) this.drop()
    this.list.setPointerCapture(event.pointerId)
    this.hold(card, { pointer: event.pointerId, startY: this.offset(event), moving: false })
  }

  onPointerMove(event) {
    const grab = this.grab
    if (!grab || grab.pointer !== event.pointerId) return
    const distance = this.offset(event) - grab.startY
    if (!grab.moving) {
      if (Math.abs(distance) < 4) return
      grab.moving = true
      grab.card.classList.add("grabbed")
      this.list.classList.add("dragging")
    }
    grab.card.style.transform = `translateY(${distance}px)`
    const target = this.target(distance)
    const from = grab.before.indexOf(grab.card.dataset.id)
    const room = grab.card.offsetHeight + parseFloat(getComputedStyle(this.list).rowGap)
    this.cards.forEach((card, place) => {
      if (card === grab.card) return
      const steps = place > from && place <= target ? -1 : place < from && place >= target ? 1 : 0
      card.style.transform = steps ? `translateY(${steps * room}px)` : ""
    })
    grab.to = target
  }

  onPointerUp(event) {
    const grab = this.grab
    if (!grab || grab.pointer !== event.pointerId) return
    if (grab.moving) {
      const ids = [...grab.before]
      const from = ids.indexOf(grab.card.dataset.id)
      ids.splice(grab.to, 0, ...ids.splice(from, 1))
      grab.card.focus({ preventScroll: true })
      this.arrange(ids)
      this.label()
      this.drop()
    } else {
      this.letGo()
      this.catchUp()
    }
  }

  // The position where the held card would land. It passes a neighbour when its edge passes the neighbour's middle.
  target(distance) {
    const { card } = this.grab
    const top = card.offsetTop + distance
    const bottom = top + card.offsetHeight
    const cards = this.cards
    const from = cards.indexOf(card)
    const middle = other => other.offsetTop + other.offsetHeight / 2
    return from - cards.slice(0, from).filter(other => top < middle(other)).length
      + cards.slice(from + 1).filter(other => bottom > middle(other)).length
  }

  // Relative to the list, so that scrolling while dragging does not matter.
  offset(event) {
    return event.clientY - this.list.getBoundingClientRect().top
  }

  name(card) {
    return card.querySelector(".title").textContent
  }

  say(text) {
    this.status.textContent = text
  }
}
