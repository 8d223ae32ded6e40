// Posts an event twice with the types that openapi-typescript has made, and prints what came
// of it. The payload is an object, as most are.
import createClient from "openapi-fetch";
import type { paths } from "./client.js";

declare const process: { argv: string[] };

const client = createClient<paths>({ baseUrl: process.argv[2] });
for (let i = 0; i < 2; i++) {
  const { data, error } = await client.POST("/v1/events", {
    params: { header: { Prefer: "wait=30" } },
    body: { client_id: "typescript", message_id: "1", type: "dialog.close", payload: { phone: "+70000000001" } },
  });
  if (!data || typeof data !== "object" || !("seq" in data)) {
    throw new Error(JSON.stringify(error ?? data));
  }
  console.log(data.client_id, data.message_id, data.seq, data.state, data.duplicate);
}
