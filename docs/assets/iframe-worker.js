// The search of pages that are opened as files: browsers start no Worker from file://, so a hidden frame takes its place.
// The theme recognises it by the name IFrameWorker.
"use strict"

class IFrameWorker extends EventTarget {
  constructor(url) {
    super()
    this.onmessage = null
    this.onerror = null
    this.frame = document.createElement("iframe")
    this.frame.hidden = true
    this.ready = new Promise((resolve) => {
      this.frame.addEventListener("load", () => this.start(url, resolve), { once: true })
    })
    document.body.appendChild(this.frame)
  }

  start(url, resolve) {
    const inside = this.frame.contentWindow
    inside.postMessage = (data) => {
      const event = new MessageEvent("message", { data })
      this.dispatchEvent(event)
      if (this.onmessage) this.onmessage(event)
    }
    inside.importScripts = (...urls) => urls.reduce((last, one) => last.then(() => this.load(one)), Promise.resolve())
    this.load(url).then(resolve)
  }

  load(url) {
    return new Promise((resolve, reject) => {
      const script = this.frame.contentDocument.createElement("script")
      script.src = url
      script.onload = resolve
      script.onerror = reject
      this.frame.contentDocument.body.appendChild(script)
    })
  }

  postMessage(data) {
    this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
  }

  terminate() {
    this.frame.remove()
  }
}

if (location.protocol === "file:") {
  window.IFrameWorker = IFrameWorker
  window.Worker = IFrameWorker
}
