// Does what cases_test.go asks: driver.mjs FILE MODE, with the rest as JSON on standard
// input. FILE is what tsc made of inturn.ts.
import { readFileSync } from "node:fs";

const { Client, Problem, SignatureError, Unreachable, emit, verify } = await import(process.argv[2]);
const mode = process.argv[3], ask = JSON.parse(readFileSync(0, "utf8"));
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

function answered(event, answer) {
	if (answer instanceof Problem) return say({ client_id: event.client_id, message_id: event.message_id, status: answer.status, name: answer.problem });
	const { client_id, message_id, seq, state, duplicate, result, error } = answer;
	say({ client_id, message_id, seq, state, duplicate, result, error });
}

async function run() {
	if (mode === "verify") {
		try {
			return say({ event: verify(ask.secrets, ask.headers, ask.body) });
		} catch (wrong) {
			if (wrong instanceof SignatureError) return say({ error: "signature", text: wrong.message });
			throw wrong;
		}
	}
	if (mode === "emit") return say(emit(...ask.events));
	const client = new Client(ask.url, { token: ask.token, ca: ask.ca, patience: ask.patience ?? 60 });
	const { events } = ask;
	try {
		if (mode === "post") {
			for (const event of events) {
				try {
					answered(event, await client.post(event, { wait: ask.wait ?? 0 }));
				} catch (refused) {
					if (!(refused instanceof Problem) || refused.status === 401 || refused.status === 403) throw refused;
					answered(event, refused);
				}
			}
		} else if (mode === "batch") {
			for (const [i, answer] of (await client.batch(events)).entries()) answered(events[i], answer);
		} else if (mode === "stream") {
			for await (const [event, answer] of client.stream(events, { onError: ask.on_error })) answered(event, answer);
		}
	} catch (failed) {
		if (failed instanceof Problem) say({ error: "problem", status: failed.status, text: failed.message });
		else if (failed instanceof Unreachable) say({ error: "unreachable", text: failed.message });
		else if (failed?.code) say({ error: "certificate", text: failed.message });
		else throw failed;
	}
	client.close();
}

await run();
