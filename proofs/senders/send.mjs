// Posts two events to one account, one after the other, by the package that is named, and
// prints what came of the second: node send.mjs PACKAGE URL. Each form of more than one
// word has the lines that docs/senders.md advises.
import axios from "axios";
import axiosRetry from "axios-retry";
import got from "got";
import ky from "ky";
import { Agent, interceptors, request, RetryAgent } from "undici";

const [form, url] = process.argv.slice(2);
const again = [408, 425, 429, 500, 502, 503, 504];
const json = { "content-type": "application/json" };
const axiosOnce = axios.create();
const axiosDefault = axios.create();
axiosRetry(axiosDefault);
const axiosAdvised = axios.create();
axiosRetry(axiosAdvised, {
  retries: 8,
  retryCondition: (e) => !e.response || again.includes(e.response.status),
  retryDelay: (n, e) => Math.max(1000 * Number(e.response?.headers["retry-after"] ?? 0), axiosRetry.exponentialDelay(n)),
});
const byRequest = (dispatcher) => async (body) => {
  const res = await request(url, { method: "POST", headers: json, body, dispatcher });
  await res.body.dump();
  return res.statusCode;
};
const forms = {
  "fetch": async (body) => (await fetch(url, { method: "POST", headers: json, body })).status,
  "axios": async (body) => (await axiosOnce.post(url, body, { headers: json })).status,
  "axios-retry": async (body) => (await axiosDefault.post(url, body, { headers: json })).status,
  "axios-retry advised": async (body) => (await axiosAdvised.post(url, body, { headers: json })).status,
  "got": async (body) => (await got.post(url, { headers: json, body })).statusCode,
  "got advised": async (body) => (await got.post(url, { headers: json, body, retry: { limit: 8, methods: ["POST"], statusCodes: again } })).statusCode,
  "ky": async (body) => (await ky.post(url, { headers: json, body })).status,
  "ky advised": async (body) => (await ky.post(url, { headers: json, body, retry: { limit: 8, methods: ["post"], statusCodes: again, afterStatusCodes: again } })).status,
  "undici": byRequest(new Agent()),
  "undici advised": byRequest(new RetryAgent(new Agent(), { methods: ["POST"], maxRetries: 8, statusCodes: again })),
};
const send = async (id) => {
  try {
    return await forms[form](JSON.stringify({ client_id: "a", message_id: id, type: "work", payload: {} }));
  } catch (e) {
    return e.response?.status ?? e.response?.statusCode ?? e.statusCode ?? "error";
  }
};
await send("1");
console.log(await send("2"));
process.exit(0);
