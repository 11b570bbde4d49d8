// Analyse Kusto queries with Microsoft's own parser.
//
// Reads from stdin {"tables": {name: schema}, "queries": {name: text}}, a schema being "(column: type, …)". Writes
// {name: {"mistakes": [message with line and column], "columns": [of the result]}}.

require("@kusto/language-service-next/bridge.min.js");
require("@kusto/language-service-next/Kusto.Language.Bridge.min.js");
const { readFileSync } = require("node:fs");

const { GlobalState, KustoCode, Symbols } = Kusto.Language;

const { tables, queries } = JSON.parse(readFileSync(0, "utf8"));

// The packages are C# turned into JavaScript: an overloaded constructor has a number. `$ctor7` takes a schema as text.
const symbols = Object.entries(tables).map(([name, schema]) => new Symbols.TableSymbol.$ctor7(name, schema));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("telemetry", symbols));

function listed(list) {
  return Array.from({ length: list.Count }, (_, i) => list.getItem(i));
}

function place(text, start) {
  const before = text.slice(0, start).split("\n");
  return `${before.length}:${before.at(-1).length + 1}`;
}

function analyse(text) {
  const code = KustoCode.ParseAndAnalyze(text, globals);
  return {
    mistakes: listed(code.GetDiagnostics()).map((each) => `${place(text, each.Start)}: ${each.Message}`),
    columns: code.ResultType?.Columns ? listed(code.ResultType.Columns).map((column) => column.Name) : [],
  };
}

const analysed = Object.entries(queries).map(([name, text]) => [name, analyse(text)]);
console.log(JSON.stringify(Object.fromEntries(analysed)));
