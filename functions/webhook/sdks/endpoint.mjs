// An endpoint that takes events with the SDK for JavaScript and answers with events that
// it makes: in binary mode at /binary, else in the JSON format. It writes its port.
import { createServer } from "node:http";
import { CloudEvent, HTTP } from "cloudevents";

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    try {
      const event = HTTP.toEvent({ headers: request.headers, body: Buffer.concat(chunks).toString() });
      event.validate();
      const paid = new CloudEvent({ id: `paid-${event.id}`, source: "/shop", type: "leaf", partitionkey: event.partitionkey, data: event.data });
      const message = request.url === "/binary" ? HTTP.binary(paid) : HTTP.structured(paid);
      response.writeHead(200, message.headers);
      response.end(message.body);
    } catch (error) {
      response.writeHead(422, { "content-type": "text/plain" });
      response.end(String(error));
    }
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
