// Plain workerd with a configuration made of the package's snippet.
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";

import { hearthCapnp } from "hearth-workers-ai";
import workerd from "workerd";

const port = await new Promise((resolve) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});
const { service, binding } = hearthCapnp();
writeFileSync("app.capnp", `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "main", worker = .app), ${service} ],
  sockets = [ (name = "http", address = "127.0.0.1:${port}", http = (), service = "main") ],
);
const app :Workerd.Worker = (
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    (name = "checks.mjs", esModule = embed "checks.mjs"),
  ],
  compatibilityDate = "2025-06-01",
  bindings = [ ${binding} ],
);
`);
const child = spawn(workerd.default ?? workerd, ["serve", "app.capnp"], { stdio: "inherit" });
for (let tries = 0; ; tries += 1) {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/outcomes`);
    console.log(`OUTCOMES ${await answer.text()}`);
    break;
  } catch (error) {
    if (tries > 100) throw error;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
child.kill();
