// Prints the version of SQLite and the number of events of a file, by the package that is
// named: node read.mjs PACKAGE FILE.
import { readFileSync } from "node:fs";
const [pkg, file] = process.argv.slice(2);
const query = "SELECT sqlite_version() AS v, count(*) AS n FROM events";
const readers = {
  "better-sqlite3": async () => new (await import("better-sqlite3")).default(file, { readonly: true }).prepare(query).get(),
  "libsql": async () => new (await import("libsql")).default(file, { readonly: true }).prepare(query).get(),
  "@tursodatabase/database": async () => {
    const db = await (await import("@tursodatabase/database")).connect(file, { readonly: true });
    return (await db.prepare(query)).get();
  },
  "sql.js": async () => {
    const SQL = await (await import("sql.js")).default();
    const [v, n] = new SQL.Database(readFileSync(file)).exec(query)[0].values[0];
    return { v, n };
  },
  "node-sqlite3-wasm": async () => new (await import("node-sqlite3-wasm")).default.Database(file, { readOnly: true }).get(query),
};
const row = await readers[pkg]();
console.log(row.v, Number(row.n));
process.exit(0);
