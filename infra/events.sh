#!/bin/sh
# Subscribe the published app to the events of the flow logs: the third command of docs/deploy.md, and azd's last.
#
#   infra/events.sh RESOURCE_GROUP [DEPLOYMENT] [NAME=VALUE ...]
#
# RESOURCE_GROUP and DEPLOYMENT are where and by which name infra/main.bicep was deployed (the name is main unless
# another is given). NAME=VALUE are more parameters of infra/events.bicep, for example nsgFlowLogs=false.
# Without RESOURCE_GROUP the outputs of that deployment are taken from the environment, where azd puts them.
# The script waits until the app runs, and can be repeated at any time. events.ps1 is the same in PowerShell.
# It deletes the subscriptions of accounts that are no longer given to infra/main.bicep, and with mode=schedule those
# of all: an event for a function that isn't there is dropped, and paid for.
set -euf

tries=40 # ten seconds apart, and some for az: about ten minutes

say() {
    printf 'events.sh: %s\n' "$*" >&2
}

stop() {
    printf '\n' >&2
    say "$@"
    exit 1
}

# Part N of a resource id: 3 is its subscription, 5 its resource group, 9 its name. In accountTopics 1 is the account.
part() {
    printf '%s\n' "$1" | cut -d / -f "$2"
}

read_output() {
    value=$(az deployment group show --resource-group "$group" --name "$deployment" \
        --query "properties.outputs.$1.value" --output tsv) ||
        stop "deployment $deployment of resource group $group could not be read: see the message of az above." \
            'Are they those of the first command of docs/deploy.md, and is it the subscription (az account show)?'
    [ -n "$value" ] ||
        stop "deployment $deployment of resource group $group has no output $1: it failed, still runs, or was" \
            'made from another version of infra/main.bicep. Repeat the first command of docs/deploy.md until it' \
            'succeeds, then this one.'
}

# Event Grid takes any function's name, and drops the events for one that isn't there without a word: so the names
# that events.bicep subscribes are compared here.
has_functions() {
    found=$(az functionapp function list --subscription "$subscription" --resource-group "$app_group" \
        --name "$app" --query '[].name' --output tsv) || return 1
    [ -n "$found" ] || return 1
    for name in $functions; do
        printf '%s\n' "$found" | grep -Eqx "(.*/)?$name" ||
            stop "app $app has no function $name, but: $(printf '%s' "$found" | tr '\n' ' ')." \
                'An app has the functions of those accounts that it knew when it was published. Publish this' \
                'version of the code (the second command of docs/deploy.md), then repeat this one.'
    done
}

# Only whether there is a key comes out of az, never the key.
has_key() {
    there=$(az functionapp keys list --subscription "$subscription" --resource-group "$app_group" \
        --name "$app" --query "systemKeys.blobs_extension && 'there'" --output tsv) || return 1
    [ "$there" = there ]
}

# wait_for CHECK WHAT WHY: repeat the check until it succeeds. When time is up, stop and say what may be WHY.
wait_for() {
    check=$1
    what=$2
    shift 2
    try=1
    until "$check"; do
        [ "$try" -lt "$tries" ] || stop "app $app still doesn't have $what after about ten minutes." "$@"
        say "waiting: app $app doesn't have $what yet (look $try of $tries, the next one in 10 seconds)"
        try=$((try + 1))
        sleep 10
    done
}

is_among() {
    printf '%s\n' "$2" | tr ' ' '\n' | grep -Fqix "$1"
}

# Delete this app's subscriptions at the topics that are no account's any more. Topics that infra/main.bicep has made
# are known by their names; one that was there before is known as long as its account is given.
delete_others() {
    subscriptions=$(for topic in "$functionAppId" $accountTopics; do part "$topic" 3; done | sort -u)
    ours=$(for topic in $accountTopics; do printf '/%s\n' "${topic#*/}"; done)
    for each in $subscriptions; do
        found=$(az resource list --subscription "$each" --resource-type Microsoft.EventGrid/systemTopics \
            --query '[].id' --output tsv) ||
            stop "the system topics of subscription $each could not be listed: see the message of az above."
        for topic in $found; do
            case $(part "$topic" 9) in
            "$app"-*) ;;
            *) is_among "$topic" "$ours" || continue ;;
            esac
            [ "$countingMode" = schedule ] || ! is_among "$topic" "$ours" || continue
            delete_at "$topic"
        done
    done
}

delete_at() {
    names=$(az eventgrid system-topic event-subscription list --subscription "$(part "$1" 3)" \
        --resource-group "$(part "$1" 5)" --system-topic-name "$(part "$1" 9)" --query '[].name' --output tsv) ||
        stop "the event subscriptions at $(part "$1" 9) could not be listed: see the message of az above."
    for name in "$app-nsg" "$app-vnet"; do
        is_among "$name" "$names" || continue
        say "deleting $name at $(part "$1" 9), whose events are not wanted any more"
        az eventgrid system-topic event-subscription delete --subscription "$(part "$1" 3)" \
            --resource-group "$(part "$1" 5)" --system-topic-name "$(part "$1" 9)" --name "$name" --yes ||
            stop "event subscription $name could not be deleted: see the message of az above."
    done
}

group=''
deployment=main
case ${1-=} in
*=*) ;;
*)
    group=$1
    shift
    case ${1-=} in
    *=*) ;;
    *)
        deployment=$1
        shift
        ;;
    esac
    ;;
esac
if [ -z "$group" ] && { [ -z "${functionAppId:-}" ] || [ -z "${resultsAccountId:-}" ] ||
    [ -z "${accountTopics:-}" ] || [ -z "${countingMode:-}" ]; }; then
    stop 'usage: infra/events.sh RESOURCE_GROUP [DEPLOYMENT] [NAME=VALUE ...]' \
        '(without RESOURCE_GROUP functionAppId, resultsAccountId, accountTopics and countingMode must be in the' \
        'environment)'
fi

command -v az >/dev/null ||
    stop 'the Azure CLI (az) was not found. Install it: https://learn.microsoft.com/cli/azure/install-azure-cli'
az account show --output none ||
    stop 'the Azure CLI is not signed in. Run: az login'

if [ -n "$group" ]; then
    read_output functionAppId
    functionAppId=$value
    read_output resultsAccountId
    resultsAccountId=$value
    read_output accountTopics
    accountTopics=$value
    read_output countingMode
    countingMode=$value
fi
subscription=$(part "$functionAppId" 3)
app_group=$(part "$functionAppId" 5)
app=$(part "$functionAppId" 9)

az account show --subscription "$subscription" --output none ||
    stop "the Azure CLI can't see subscription $subscription, which the app is in. Sign in to its tenant:" \
        'az login --tenant TENANT'

if [ "$countingMode" = schedule ]; then
    delete_others
    printf '%s\n' 'With mode=schedule there are no events: the app looks every five minutes what has grown, and has' \
        'no subscriptions any more. To see whether all is well: flowtally doctor'
    exit
fi

functions=$(for topic in $accountTopics; do
    printf 'ingest_nsg_%s ingest_vnet_%s ' "$(part "$topic" 1)" "$(part "$topic" 1)"
done)
wait_for has_functions 'its functions' \
    'Either publishing failed: repeat the second command of docs/deploy.md, and read its last lines. Or the app' \
    "can't load its code: the remote build took another Python than 3.13, or a setting is wrong; the app's own" \
    'error is in the portal, at the app under Log stream, or in Application Insights under Failures. If az says' \
    "above that something isn't allowed or doesn't exist, that is the reason."
wait_for has_key 'its key for events (blobs_extension)' \
    'The app makes it when it has started with its code: the portal shows at the app under Log stream why it' \
    "doesn't start. If az says above that something isn't allowed, that is the reason."

for topic in $accountTopics; do
    account=$(part "$topic" 1)
    name=$(part "$topic" 9)
    say "subscribing at $name"
    az deployment group create --subscription "$(part "$topic" 3)" --resource-group "$(part "$topic" 5)" \
        --name flowtally-events --template-file "$(dirname "$0")/events.bicep" --output none \
        --parameters "flowLogAccountName=$account" "systemTopicName=$name" \
        "functionAppId=$functionAppId" "resultsAccountId=$resultsAccountId" "$@" ||
        stop "the subscriptions at $name could not be deployed: see the message of az above, and" \
            '"When something fails" in docs/deploy.md. If it is a failed handshake, repeat this command in a minute.'
done
delete_others

printf '%s\n' 'The app is subscribed. Flow logs grow every minute: within about two minutes table flowledger has rows, and' \
    'flowstats about five minutes later. To see whether all is well: flowtally doctor'
