// Questions to the server and saves. Everything is sent as JSON in a file field: a plain form would change line ends.
export class Refused extends Error {
  constructor(status, answer) {
    super(answer?.error || answer?.message || answer?.text || `The server answered ${status}.`);
    this.status = status;
    this.answer = answer ?? {};
  }
}

export class Server {
  constructor({ source, check, save, preview, block }, token) {
    this.addresses = { source, check, save, preview, block };
    this.token = token;
  }

  async ask(address, options = {}) {
    let response;
    try {
      response = await fetch(address, { credentials: "same-origin", ...options,
        headers: { Accept: "application/json", ...options.headers } });
    } catch {
      throw new Refused(0, { message: "The server cannot be reached." });
    }
    const text = await response.text();
    let answer = null;
    try { answer = JSON.parse(text); } catch { /* A page of a login or of a proxy: told by its status alone. */ }
    if (!response.ok || answer === null) throw new Refused(response.ok ? 502 : response.status, answer);
    return answer;
  }

  send(address, edit, fields = {}) {
    const body = new FormData();
    for (const [name, value] of Object.entries(fields)) if (value !== null && value !== undefined) body.append(name, value);
    body.append("edit", new Blob([JSON.stringify(edit)], { type: "application/json" }), "edit.json");
    return this.ask(address, { method: "POST", body, headers: { "X-CSRF-Token": this.token } });
  }

  load() { return this.ask(this.addresses.source); }
  check(edit) { return this.send(this.addresses.check, edit); }
  save(edit, fields) { return this.send(this.addresses.save, edit, fields); }
  preview(edit, fields) { return this.send(this.addresses.preview, edit, fields); }

  async block(kind, name) {
    const address = new URL(this.addresses.block, location.href);
    address.searchParams.set("kind", kind);
    address.searchParams.set("block", name);
    return (await this.ask(address)).values;
  }
}
