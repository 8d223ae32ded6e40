// Sends events to inturn, and serves the calls that inturn makes.
//
//	import { Client } from "./inturn.ts";
//
//	const client = new Client("https://localhost:8443", { token: "…", ca: "data/tls/ca.pem" });
//	const receipt = await client.post({ client_id: "alice", message_id: "1", type: "order", payload: { sku: "tea" } });
//
// One file, Node's standard library only. Its types can be erased: Node 22.18 and later run
// it as it is, older ones what tsc makes of it.
//
// What is sent is sent until it is answered: after a broken connection, an answer that
// broke off, and every answer that says to come back later (408, 429, 5xx), for at most
// `patience` seconds in which nothing is answered. An event keeps its message_id through
// all of that, so nothing runs twice, and nothing of an account overtakes what was sent
// before it.

import { createHash, createHmac, randomBytes, randomUUID, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import * as http from "node:http";
import * as https from "node:https";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";

/** What is sent. Without message_id it gets a random one before the first try. */
export interface Event {
	client_id: string;
	message_id?: string;
	/** Names the function; without it the server takes message. */
	type?: string;
	/** Any JSON value. Two spellings of one value are two payloads. */
	payload: unknown;
}

/** The server's word that an event is durable. */
export interface Receipt {
	client_id: string;
	message_id: string;
	seq: number;
	state: "pending" | "scheduled" | "done" | "dead";
	duplicate: boolean;
	result?: unknown;
	error?: string;
}

export interface Options {
	token?: string;
	/** File of the certificates to trust in place of the system's; read again after a failure. */
	ca?: string;
	/** Seconds that may pass without an answer before Unreachable is thrown; 300. */
	patience?: number;
}

// Seconds between two tries, of a held answer, and of silence after which a connection is given up.
const firstWait = 0.2, longestWait = 5, maxRetryAfter = 10, hold = 30, silence = 90;
// Bounds of one request of a batch, and of what a stream has sent and not had answered.
const batchEvents = 500, batchBytes = 1 << 20, windowEvents = 4096, windowBytes = 16 << 20, highWater = 256 << 10;
const urn = "urn:inturn:problem:";

/** An event, or a request, that is refused for good. */
export class Problem extends Error {
	status: number;
	/** Such as invalid-event. */
	problem: string;
	/** All that the server said. */
	answer: Answer;

	constructor(answer: Answer) {
		super([answer.status, answer.title, answer.detail].filter(Boolean).join(": "));
		this.name = "Problem";
		this.answer = answer;
		this.status = answer.status ?? 0;
		this.problem = (answer.type ?? "").replace(urn, "");
	}
}

/** Nothing was answered for `patience` seconds. What was sent may have been taken. */
export class Unreachable extends Error {}

/** A call that is not inturn's, or not a recent one. It is to be answered 401. */
export class SignatureError extends Error {}

/** An answer as the server gives it: a receipt, or a problem's fields. */
export interface Answer extends Partial<Receipt> {
	n?: number;
	status?: number;
	type?: string;
	title?: string;
	detail?: string;
	retry_after?: number;
	errors?: { pointer?: string; detail: string }[];
}

/** Sends events to one server. Posts of one account that run at once are accepted in any order. */
export class Client {
	#url: URL;
	#options: Options;
	#patience: number;
	#agent?: http.Agent;

	constructor(url: string, options: Options = {}) {
		this.#url = new URL(url);
		if (!/^https?:$/.test(this.#url.protocol)) throw new TypeError(`${url} is not the address of a server, such as https://localhost:8443`);
		this.#options = options;
		this.#patience = options.patience ?? 300;
	}

	/**
	 * Sends one event until it is accepted. With wait it asks so many seconds for the result:
	 * the receipt's state is then done, dead, or still pending. Throws Problem, Unreachable, or
	 * the failure to verify the server's certificate.
	 */
	async post(event: Event, { wait = 0 } = {}): Promise<Receipt> {
		const { body } = encode(event);
		const end = Date.now() + 1000 * wait;
		for (;;) {
			const left = Math.ceil((end - Date.now()) / 1000);
			const receipt = (await this.#send(body, left > 0 ? { Prefer: `wait=${Math.min(hold, left)}` } : {})) as Receipt;
			if (left <= 0 || receipt.state === "done" || receipt.state === "dead") return receipt;
		}
	}

	/**
	 * Sends events and returns an answer for each: a receipt, or a Problem, which is not
	 * thrown. The events of an account are accepted in their order; after one that is refused
	 * the later ones of its account are answered 424 and not accepted.
	 */
	async batch(events: Iterable<Event>): Promise<(Receipt | Problem)[]> {
		const answers: (Receipt | Problem)[] = [], refused = new Set<string>();
		let chunk: Item[] = [], size = 0;
		for (const event of events) {
			const item = encode(event);
			if (chunk.length === batchEvents || (chunk.length > 0 && size + item.body.length > batchBytes)) {
				answers.push(...(await this.#batch(chunk, refused)));
				[chunk, size] = [[], 0];
			}
			chunk.push(item);
			size += item.body.length;
		}
		answers.push(...(await this.#batch(chunk, refused)));
		return answers;
	}

	async #batch(chunk: Item[], refused: Set<string>): Promise<(Receipt | Problem)[]> {
		const answers: (Receipt | Problem | undefined)[] = chunk.map((item) => (refused.has(item.event.client_id) ? notAttempted() : undefined));
		const retry = new Retry(this.#patience);
		for (;;) {
			const open = chunk.map((_, i) => i).filter((i) => answers[i] === undefined);
			if (open.length === 0) return answers as (Receipt | Problem)[];
			const body = Buffer.from("[" + open.map((i) => chunk[i]!.body.toString()).join(",") + "]");
			const { results } = (await this.#send(body, {})) as unknown as { results: Answer[] };
			if (results?.length !== open.length) throw new Unreachable(`the answer has ${results?.length} results for ${open.length} events`);
			const later = new Set<string>();
			let reason: Answer | undefined;
			for (const [at, i] of open.entries()) {
				const answer = results[at]!, client = chunk[i]!.event.client_id;
				if (temporary(answer) || (answer.status === 424 && later.has(client))) {
					later.add(client);
					reason ??= answer;
					continue;
				}
				const settled = final(answer);
				answers[i] = settled;
				retry.progress();
				if (settled instanceof Problem) refused.add(client);
			}
			if (reason) await retry.wait(new Problem(reason), reason.retry_after);
		}
	}

	/**
	 * Sends events and yields [event, answer] for each. Many are sent before the first is
	 * answered, over a WebSocket, and again over another where that breaks. Answers come in the
	 * order of the events, but for those that are not sent after a refused one of their account
	 * (424), which may come earlier; onError "continue" sends those all the same.
	 */
	async *stream(events: Iterable<Event> | AsyncIterable<Event>, { onError = "stop" as "stop" | "continue" } = {}): AsyncGenerator<[Event, Receipt | Problem]> {
		const sender = new Sender(events, onError === "continue");
		const retry = new Retry(this.#patience);
		for (;;) {
			try {
				for await (const pair of sender.connect(() => this.#connect(onError === "continue" ? "?on_error=continue" : ""))) {
					retry.progress();
					yield pair;
				}
				return;
			} catch (failure) {
				if (failure instanceof Problem && !temporary(failure.answer)) throw failure;
				if (failure instanceof FromCaller) throw failure.cause;
				if (!(failure instanceof Problem) && lasting(failure)) throw failure;
				this.close();
				await retry.wait(failure, failure instanceof Problem ? failure.answer.retry_after : undefined);
			}
		}
	}

	/** Closes the connections that are kept for the next request. */
	close(): void {
		this.#agent?.destroy();
		this.#agent = undefined;
	}

	async #send(body: Buffer, headers: http.OutgoingHttpHeaders): Promise<Answer> {
		const retry = new Retry(this.#patience);
		for (;;) {
			let failure: unknown, after: string | undefined;
			try {
				const { status, text, retryAfter } = await this.#request(body, headers);
				const answer = parse(text);
				if ((status === 200 || status === 202) && answer) return answer;
				const problem = new Problem({ title: "the answer can't be read", ...answer, status });
				if (status !== 200 && status !== 202 && !temporary(problem.answer)) throw problem;
				[failure, after] = [problem, retryAfter];
			} catch (error) {
				if (error instanceof Problem || lasting(error)) throw error;
				this.close();
				failure = error;
			}
			await retry.wait(failure, after);
		}
	}

	#request(body: Buffer, headers: http.OutgoingHttpHeaders): Promise<{ status: number; text: string; retryAfter?: string }> {
		return new Promise((resolve, reject) => {
			const options = { method: "POST", headers: { "Content-Type": "application/json", "Content-Length": body.length, ...this.#authorization(), ...headers } };
			const request = this.#open("/v1/events", options, (response) => {
				const parts: Buffer[] = [];
				response.on("data", (part: Buffer) => parts.push(part));
				response.on("error", reject);
				response.on("end", () => {
					if (!response.complete) reject(new Error("the answer broke off"));
					else resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString(), retryAfter: response.headers["retry-after"] });
				});
			});
			request.on("error", reject);
			request.setTimeout(1000 * silence, () => request.destroy(new Error(`no answer for ${silence} s`)));
			request.end(body);
		});
	}

	#open(path: string, options: http.RequestOptions, answered: (response: http.IncomingMessage) => void): http.ClientRequest {
		const target = new URL(path, this.#url);
		if (this.#url.protocol === "http:") {
			this.#agent ??= new http.Agent({ keepAlive: true });
			return http.request(target, { agent: this.#agent, ...options }, answered);
		}
		this.#agent ??= new https.Agent({ keepAlive: true, ca: this.#options.ca ? readFileSync(this.#options.ca) : undefined });
		return https.request(target, { agent: this.#agent, ...options }, answered);
	}

	#authorization(): http.OutgoingHttpHeaders {
		return this.#options.token ? { Authorization: `Bearer ${this.#options.token}` } : {};
	}

	#connect(query: string): Promise<WebSocket> {
		return new Promise((resolve, reject) => {
			const key = randomBytes(16).toString("base64");
			const headers = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key, ...this.#authorization() };
			const request = this.#open("/v1/stream" + query, { headers }, (response) => {
				const parts: Buffer[] = [];
				response.on("data", (part: Buffer) => parts.push(part));
				response.on("error", reject);
				response.on("end", () => {
					const after = Number(response.headers["retry-after"]);
					reject(new Problem({ ...parse(Buffer.concat(parts).toString()), status: response.statusCode, retry_after: after || undefined }));
				});
			});
			request.on("upgrade", (response, socket, head) => {
				const want = createHash("sha1").update(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
				if (response.headers["sec-websocket-accept"] !== want) {
					socket.destroy();
					return reject(new Error("the server does not speak WebSocket"));
				}
				resolve(new WebSocket(socket, head));
			});
			request.on("error", reject);
			request.setTimeout(1000 * silence, () => request.destroy(new Error(`no answer for ${silence} s`)));
			request.end();
		});
	}
}

/** Waits between two tries, and throws Unreachable when that has lasted too long. */
class Retry {
	#patience: number;
	#since = 0;
	#wait = 0;

	constructor(patience: number) {
		this.#patience = patience;
		this.progress();
	}

	progress(): void {
		[this.#since, this.#wait] = [Date.now(), firstWait];
	}

	async wait(reason: unknown, retryAfter?: string | number): Promise<void> {
		if (Date.now() - this.#since > 1000 * this.#patience) {
			throw new Unreachable(`nothing was answered for ${this.#patience} s: ${reason}`, { cause: reason });
		}
		const asked = Number(retryAfter ?? NaN);
		const after = asked >= 0 ? Math.min(Math.max(asked, firstWait), maxRetryAfter) : this.#wait;
		this.#wait = Math.min(2 * this.#wait, longestWait);
		await sleep(1000 * after);
	}
}

interface Item {
	event: Event;
	id: string;
	body: Buffer;
}

/** An error that the caller's own events threw. */
class FromCaller extends Error {}

/** The events of a stream, over as many connections as it takes. */
class Sender {
	#events: Iterator<Event> | AsyncIterator<Event>;
	#next?: Promise<void>; // under way, of an event that is not there yet
	#came?: IteratorResult<Event>;
	#failed?: FromCaller;
	#goOn: boolean;
	#waiting: Item[] = []; // sent, or to be sent again; the oldest at #first
	#first = 0;
	#bytes = 0;
	#ended = false;
	#refused = new Set<string>();

	constructor(events: Iterable<Event> | AsyncIterable<Event>, goOn: boolean) {
		this.#events = Symbol.asyncIterator in events ? events[Symbol.asyncIterator]() : events[Symbol.iterator]();
		this.#goOn = goOn;
	}

	async *connect(dial: () => Promise<WebSocket>): AsyncGenerator<[Event, Receipt | Problem]> {
		const socket = await dial();
		try {
			yield* this.#resend(socket);
			let n = 0;
			for (;;) {
				yield* this.#fill(socket);
				if (this.#ended && this.#first === this.#waiting.length) return;
				const texts = socket.take();
				if (texts.length === 0) {
					await socket.changed(this.#next);
					if (this.#failed) throw this.#failed;
				}
				for (const text of texts) {
					const answers = JSON.parse(text) as Answer | Answer[];
					for (const answer of Array.isArray(answers) ? answers : [answers]) yield this.#take(answer, ++n);
				}
			}
		} finally {
			socket.close();
		}
	}

	// What waits behind a refused event of its account is answered here: the server doesn't
	// know of that on a new connection.
	*#resend(socket: WebSocket): Generator<[Event, Problem]> {
		const waiting = this.#waiting.slice(this.#first);
		[this.#waiting, this.#first, this.#bytes] = [[], 0, 0];
		const behind = waiting.filter((item) => this.#refused.has(item.event.client_id));
		for (const item of waiting) if (!this.#refused.has(item.event.client_id)) this.#push(socket, item);
		for (const item of behind) yield [item.event, notAttempted()];
	}

	#push(socket: WebSocket, item: Item): void {
		this.#waiting.push(item);
		this.#bytes += item.body.length;
		socket.send(1, item.body);
	}

	/** Takes events while there is room for them, and they are there. */
	*#fill(socket: WebSocket): Generator<[Event, Problem]> {
		while (!this.#ended && socket.room() && this.#waiting.length - this.#first < windowEvents && this.#bytes < windowBytes) {
			const result = this.#pull();
			if (!result) return;
			if (result.done) {
				this.#ended = true;
				return;
			}
			const item = encode(result.value);
			if (this.#refused.has(item.event.client_id)) yield [item.event, notAttempted()];
			else this.#push(socket, item);
		}
	}

	#pull(): IteratorResult<Event> | undefined {
		if (this.#came) {
			const came = this.#came;
			this.#came = undefined;
			return came;
		}
		if (this.#next) return undefined;
		const next = this.#events.next();
		if (!(next instanceof Promise)) return next;
		this.#next = next.then(
			(came) => void ([this.#came, this.#next] = [came, undefined]),
			(cause) => void (this.#failed = new FromCaller("", { cause })),
		);
		return undefined;
	}

	#take(answer: Answer, n: number): [Event, Receipt | Problem] {
		const item = this.#waiting[this.#first];
		if (!item || answer.n !== n || (answer.message_id ?? item.id) !== item.id) throw new Problem({ title: `answer ${n} is not for the event that was sent` });
		if (temporary(answer) || answer.status === 401) throw new Problem(answer); // not taken, nor is what follows it
		this.#first++;
		if (this.#first > windowEvents) [this.#waiting, this.#first] = [this.#waiting.slice(this.#first), 0];
		this.#bytes -= item.body.length;
		const settled = final(answer);
		if (settled instanceof Problem && !this.#goOn) this.#refused.add(item.event.client_id);
		return [item.event, settled];
	}
}

/** The client's side of RFC 6455. */
class WebSocket {
	#socket: Duplex;
	#data: Buffer = Buffer.alloc(0);
	#parts: Buffer[] = [];
	#texts: string[] = [];
	#end?: Error;
	#wake?: () => void;
	#silent: NodeJS.Timeout;

	constructor(socket: Duplex, head: Buffer) {
		this.#socket = socket;
		this.#silent = setTimeout(() => this.#over(new Error(`nothing came for ${silence} s`)), 1000 * silence);
		socket.on("data", (data: Buffer) => this.#read(data));
		socket.on("drain", () => this.#wake?.());
		socket.on("error", (error) => this.#over(error));
		socket.on("close", () => this.#over(new Error("the connection was closed")));
		socket.on("end", () => this.#over(new Error("the server closed the connection")));
		if (head.length > 0) this.#read(head);
	}

	room(): boolean {
		return this.#socket.writableLength < highWater;
	}

	/** Returns the messages that came, and throws why the connection ended after the last. */
	take(): string[] {
		const texts = this.#texts;
		this.#texts = [];
		if (texts.length === 0 && this.#end) throw this.#end;
		return texts;
	}

	/** Returns when a message came, there is room again, the connection ended, or other is settled. */
	async changed(other?: Promise<void>): Promise<void> {
		if (this.#texts.length > 0 || this.#end) return;
		const woken = new Promise<void>((resolve) => (this.#wake = resolve));
		await (other ? Promise.race([woken, other]) : woken);
	}

	send(opcode: number, payload: Buffer): void {
		const length = payload.length, extra = length < 126 ? 0 : length < 65536 ? 2 : 8;
		const frame = Buffer.allocUnsafe(6 + extra + length);
		frame[0] = 0x80 | opcode;
		frame[1] = 0x80 | (extra === 0 ? length : extra === 2 ? 126 : 127);
		if (extra === 2) frame.writeUInt16BE(length, 2);
		if (extra === 8) frame.writeBigUInt64BE(BigInt(length), 2);
		const mask = randomBytes(4), begin = 6 + extra;
		mask.copy(frame, 2 + extra);
		for (let i = 0; i < length; i++) frame[begin + i] = payload[i]! ^ mask[i & 3]!;
		if (this.#socket.writable) this.#socket.write(frame);
	}

	close(): void {
		clearTimeout(this.#silent);
		this.#end ??= new Error("closed");
		this.send(8, Buffer.from([1000 >> 8, 1000 & 0xff]));
		this.#socket.end();
		setTimeout(() => this.#socket.destroy(), 1000).unref();
	}

	#over(why: Error): void {
		clearTimeout(this.#silent);
		this.#end ??= why;
		this.#wake?.();
	}

	#read(data: Buffer): void {
		this.#silent.refresh();
		this.#data = this.#data.length === 0 ? data : Buffer.concat([this.#data, data]);
		while (this.#data.length >= 2) {
			const first = this.#data[0]!;
			let length = this.#data[1]! & 0x7f, begin = 2;
			if (length >= 126) {
				const size = length === 126 ? 2 : 8;
				if (this.#data.length < 2 + size) break;
				length = size === 2 ? this.#data.readUInt16BE(2) : Number(this.#data.readBigUInt64BE(2));
				begin += size;
			}
			if (this.#data.length < begin + length) break;
			const payload = this.#data.subarray(begin, begin + length);
			this.#data = this.#data.subarray(begin + length);
			this.#frame(first, payload);
		}
		this.#wake?.();
	}

	#frame(first: number, payload: Buffer): void {
		const opcode = first & 0xf;
		if (opcode === 8) {
			const code = payload.length >= 2 ? payload.readUInt16BE(0) : 0, reason = payload.subarray(2).toString();
			// The same again would end the same way.
			const refused = [1003, 1007, 1008, 1009].includes(code);
			this.#over(refused ? new Problem({ status: code === 1008 ? 401 : 400, title: `the stream was closed with ${code}`, detail: reason }) : new Error(`the stream was closed with ${code} ${reason}`));
		} else if (opcode === 9) {
			this.send(10, payload);
		} else if (opcode <= 2) {
			this.#parts.push(payload);
			if (!(first & 0x80)) return;
			this.#texts.push(this.#parts.length === 1 ? payload.toString() : Buffer.concat(this.#parts).toString());
			this.#parts = [];
		}
	}
}

/** An event as it is sent, the same bytes for each try. */
function encode(event: Event): Item {
	const id = event.message_id ?? randomUUID();
	const { client_id, type, payload } = event;
	return { event, id, body: Buffer.from(JSON.stringify({ client_id, message_id: id, type, payload })) };
}

function parse(text: string): Answer | undefined {
	try {
		const value: unknown = JSON.parse(text);
		return value !== null && typeof value === "object" ? value : undefined;
	} catch {
		return undefined;
	}
}

function temporary(answer: Answer): boolean {
	return answer.status === 408 || answer.status === 429 || (answer.status ?? 0) >= 500;
}

/** Reports whether a connection fails for what does not pass: the server's certificate. */
function lasting(failure: unknown): boolean {
	const code = String((failure as { code?: unknown } | undefined)?.code ?? "");
	return /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER/.test(code);
}

function final(answer: Answer): Receipt | Problem {
	return answer.type?.startsWith(urn) ? new Problem(answer) : (answer as Receipt);
}

function notAttempted(): Problem {
	return new Problem({ type: urn + "not-attempted", status: 424, title: "An earlier event was refused", detail: "an earlier event of this account was refused, and this one was not sent" });
}

/** A call of a webhook function: a CloudEvent; id is the message_id, partitionkey the client_id. */
export interface Call {
	id: string;
	source: string;
	type: string;
	partitionkey: string;
	time?: string;
	data?: unknown;
	[attribute: string]: unknown;
}

/**
 * Verifies a call that inturn makes of a webhook function, and returns its event. secrets is
 * one or more whsec_…, body what came. Throws SignatureError, or SyntaxError where body is no JSON.
 */
export function verify(secrets: string | string[], headers: Record<string, string | string[] | undefined>, body: string | Uint8Array, now = Date.now()): Call {
	const given = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value ?? "")]));
	const id = given["webhook-id"] ?? "", at = given["webhook-timestamp"] ?? "";
	if (!id || !/^\d{1,12}$/.test(at) || Math.abs(now / 1000 - Number(at)) > 300) throw new SignatureError("the signature is missing, or too old");
	const text = Buffer.from(body as Uint8Array);
	let good = false;
	for (const secret of typeof secrets === "string" ? [secrets] : secrets) {
		const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
		if (key.length === 0) throw new TypeError("a secret is not whsec_ and base64");
		const want = Buffer.from("v1," + createHmac("sha256", key).update(`${id}.${at}.`).update(text).digest("base64"));
		for (const signature of (given["webhook-signature"] ?? "").split(/\s+/).map((one) => Buffer.from(one))) {
			good = (signature.length === want.length && timingSafeEqual(signature, want)) || good;
		}
	}
	if (!good) throw new SignatureError("the signature is wrong");
	return JSON.parse(text.toString()) as Call;
}

/**
 * Makes the answer to a call that emits events: each with type and message_id, and without
 * client_id of the call's account. They are appended in the transaction that settles the
 * call's event.
 */
export function emit(...events: (Omit<Event, "client_id"> & { client_id?: string; message_id: string; type: string })[]): { headers: Record<string, string>; body: string } {
	const batch = events.map((event) => ({ specversion: "1.0", id: event.message_id, source: "emitted", type: event.type, partitionkey: event.client_id, data: event.payload }));
	return { headers: { "Content-Type": "application/cloudevents-batch+json" }, body: JSON.stringify(batch) };
}
