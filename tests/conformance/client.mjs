// The TypeScript SDK's own client against one server: prints what it saw as JSON.
// node client.mjs <folder with node_modules> <url> <token or "">
import { createRequire } from "node:module";

const [, , folder, url, token] = process.argv;
const require = createRequire(`${folder}/package.json`);
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");

const client = new Client({ name: "typescript-client", version: "1" });
const headers = token ? { Authorization: `Bearer ${token}` } : {};
const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
const call = (name, options) => client.callTool({ name, arguments: {} }, undefined, options);

await client.connect(transport);
await client.ping();
const { tools } = await client.listTools();
const text = await call("test_simple_text");
const image = await call("test_image_content");
const failed = await call("test_error_handling");
const progress = [];
await call("test_tool_with_progress", { onprogress: ({ progress: done }) => progress.push(done) });
const unknown = await call("no_such_tool").then((result) => Boolean(result.isError), (error) => error.code);
console.log(JSON.stringify({
  server: client.getServerVersion().name,
  capabilities: Object.keys(client.getServerCapabilities()),
  tools: tools.map((tool) => tool.name),
  text: text.content[0].text,
  image: image.content[0].mimeType,
  failed: failed.isError,
  progress,
  unknown,
}));
await client.close();
