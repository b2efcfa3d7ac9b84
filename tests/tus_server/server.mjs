// The tus server of the tests: `node server.mjs FOLDER EXPIRES_MS PORT`.
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [directory, expires, port] = process.argv.slice(2);
const datastore = new FileStore({ directory, expirationPeriodInMilliseconds: Number(expires) });
const server = new Server({ path: "/files", datastore, relativeLocation: true });
server.listen({ host: "127.0.0.1", port: Number(port) });
