#!/bin/sh
# Compiles and lints all of infra/ with the Bicep compiler that is there. Installs nothing, writes no file.
# The compiler ends with 0 where it has only warned, so what it says is looked at, too.
set -u
cd "$(dirname "$0")/.." || exit 1

if command -v bicep >/dev/null 2>&1; then
  compile() { bicep "$1" "$2" --stdout; }
  version=$(bicep --version)
elif command -v az >/dev/null 2>&1 && version=$(az bicep version 2>/dev/null) && [ -n "$version" ]; then
  compile() { az bicep "$1" --file "$2" --stdout; }
else
  echo "make bicep: there is no Bicep compiler. Install it with 'az bicep install' (Azure CLI), or put 'bicep' on" \
    "the PATH: https://learn.microsoft.com/azure/azure-resource-manager/bicep/install" >&2
  exit 1
fi

echo "$version"
said=$(mktemp) && trap 'rm -f "$said"' EXIT
failed=0
count=0
for file in $(find infra -name '*.bicep' -o -name '*.bicepparam' | sort); do
  case $file in
    *.bicepparam) command=build-params ;;
    *) command=build ;;
  esac
  count=$((count + 1))
  if ! compile "$command" "$file" >/dev/null 2>"$said" || grep -Eq '\([0-9]+,[0-9]+\) *: ' "$said"; then
    failed=$((failed + 1))
    echo "$file:" >&2
    cat "$said" >&2
  fi
done
[ "$count" -gt 0 ] || { echo "make bicep: there is nothing to compile in infra/" >&2; exit 1; }
[ "$failed" -eq 0 ] || { echo "make bicep: $failed of $count files with errors or warnings" >&2; exit 1; }
echo "$count files compile without an error or a warning"
