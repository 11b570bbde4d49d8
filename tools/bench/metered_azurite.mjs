// Loaded into Azurite's process before Azurite: moves its clock, and counts what it is asked.
//
// A command is a line of stdin: `ahead MILLISECONDS` sets the clock that far ahead, `report` forgets what was counted.
// Both are answered by a line of stdout: `metered` and, in JSON, what was counted since the last report. What is counted,
// by port, method, whether it is a listing, and status: requests, and the bytes that came and went.

import http from "node:http";

const SystemDate = globalThis.Date;
let ahead = 0;
let counted = {};

globalThis.Date = class Date extends SystemDate {
  constructor(...given) {
    super(...(given.length > 0 ? given : [SystemDate.now() + ahead]));
  }

  static now() {
    return SystemDate.now() + ahead;
  }
};

// By connection, the bytes that its requests so far have taken.
const taken = new WeakMap();

const emit = http.Server.prototype.emit;
http.Server.prototype.emit = function (event, request, response) {
  if (event === "request") {
    const { localPort } = request.socket;
    const list = /[?&]comp=list(&|$)/.test(request.url) ? " list" : "";
    response.once("finish", () => {
      const { bytesRead, bytesWritten } = request.socket;
      const before = taken.get(request.socket) ?? [0, 0];
      const key = `${localPort} ${request.method}${list} ${response.statusCode}`;
      const its = (counted[key] ??= [0, 0, 0]);
      its[0] += 1;
      its[1] += bytesRead - before[0];
      its[2] += bytesWritten - before[1];
      taken.set(request.socket, [bytesRead, bytesWritten]);
    });
  }
  return emit.apply(this, arguments);
};

let rest = "";
process.stdin.on("data", (data) => {
  const lines = (rest + data).split("\n");
  rest = lines.pop();
  for (const line of lines) {
    const [command, value] = line.split(" ");
    if (command === "ahead") ahead = Number(value);
    console.log(`metered ${JSON.stringify(counted)}`);
    if (command === "report") counted = {};
  }
});
