// Signs as JavaScript libraries do. Arguments: the library, a secret, and for
// standardwebhooks the id and the time in Unix seconds. The body is standard input.
import { readFileSync } from "node:fs";
import { sign } from "@octokit/webhooks-methods";
import { createSHA256HMAC } from "@shopify/shopify-api/runtime";
import "@shopify/shopify-api/adapters/node";
import { Webhook } from "standardwebhooks";

const [library, secret, id, seconds] = process.argv.slice(2);
const body = readFileSync(0, "utf8");
const libraries = {
  octokit: () => sign(secret, body),
  shopify: () => createSHA256HMAC(secret, body),
  standardwebhooks: () => new Webhook(secret).sign(id, new Date(1000 * Number(seconds)), body),
};
process.stdout.write(await libraries[library]());
