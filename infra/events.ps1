# Subscribe the published app to the events of the flow logs: the third command of docs/deploy.md, and azd's last.
#
#   infra/events.ps1 RESOURCE_GROUP [DEPLOYMENT] [NAME=VALUE ...]
#
# RESOURCE_GROUP and DEPLOYMENT are where and by which name infra/main.bicep was deployed (the name is main unless
# another is given). NAME=VALUE are more parameters of infra/events.bicep, for example nsgFlowLogs=false.
# Without RESOURCE_GROUP the outputs of that deployment are taken from the environment, where azd puts them.
# The script waits until the app runs, and can be repeated at any time. events.sh is the same for a POSIX shell.
# It deletes the subscriptions of accounts that are no longer given to infra/main.bicep, and with mode=schedule those
# of all: an event for a function that isn't there is dropped, and paid for.
#
# For Windows PowerShell 5.1 and PowerShell 7. az is a batch file on Windows: no argument may hold a parenthesis,
# and its messages are not redirected, because 5.1 would take them for errors of its own.
$ErrorActionPreference = 'Stop'
$PSNativeCommandUseErrorActionPreference = $false
Set-StrictMode -Version 2.0

$tries = 40 # ten seconds apart, and some for az: about ten minutes

function Say([string]$Message) {
    [Console]::Error.WriteLine("events.ps1: $Message")
}

function Stop-Here([string]$Message) {
    [Console]::Error.WriteLine('')
    Say $Message
    exit 1
}

# Part N of a resource id: 2 is its subscription, 4 its resource group, 8 its name. In accountTopics 0 is the account.
function Get-Part([string]$Id, [int]$N) {
    return $Id.Split('/')[$N]
}

function Read-Output([string]$Name) {
    $value = az deployment group show --resource-group $group --name $deployment `
        --query "properties.outputs.$Name.value" --output tsv
    if ($LASTEXITCODE -ne 0) {
        Stop-Here ("deployment $deployment of resource group $group could not be read: see the message of az above. " +
            'Are they those of the first command of docs/deploy.md, and is it the subscription (az account show)?')
    }
    if (-not $value) {
        Stop-Here ("deployment $deployment of resource group $group has no output ${Name}: it failed, still runs, or " +
            'was made from another version of infra/main.bicep. Repeat the first command of docs/deploy.md until it ' +
            'succeeds, then this one.')
    }
    return $value
}

# Event Grid takes any function's name, and drops the events for one that isn't there without a word: so the names
# that events.bicep subscribes are compared here.
function Test-Functions {
    $found = @(az functionapp function list --subscription $subscription --resource-group $appGroup `
        --name $app --query '[].name' --output tsv)
    if ($LASTEXITCODE -ne 0) { return $false }
    if (-not $found) { return $false }
    foreach ($name in $functions) {
        if (-not ($found -match "^(.*/)?$name`$")) {
            Stop-Here ("app $app has no function $name, but: $found. " +
                'An app has the functions of those accounts that it knew when it was published. Publish this ' +
                'version of the code (the second command of docs/deploy.md), then repeat this one.')
        }
    }
    return $true
}

# Only whether there is a key comes out of az, never the key.
function Test-Key {
    $there = az functionapp keys list --subscription $subscription --resource-group $appGroup `
        --name $app --query "systemKeys.blobs_extension && 'there'" --output tsv
    if ($LASTEXITCODE -ne 0) { return $false }
    return $there -eq 'there'
}

# Repeat the check until it succeeds. When time is up, stop and say what may be why.
function Wait-For([string]$Check, [string]$What, [string]$Why) {
    $try = 1
    while (-not (& $Check)) {
        if ($try -ge $tries) { Stop-Here "app $app still doesn't have $What after about ten minutes. $Why" }
        Say "waiting: app $app doesn't have $What yet (look $try of $tries, the next one in 10 seconds)"
        $try = $try + 1
        Start-Sleep -Seconds 10
    }
}

# Delete this app's subscriptions at the topics that are no account's any more. Topics that infra/main.bicep has made
# are known by their names; one that was there before is known as long as its account is given.
function Remove-Others {
    $topics = @(-split $accountTopics)
    $ours = @($topics | ForEach-Object { $_.Substring($_.IndexOf('/')) })
    foreach ($each in @(@($functionAppId) + $topics | ForEach-Object { Get-Part $_ 2 } | Sort-Object -Unique)) {
        $found = @(az resource list --subscription $each --resource-type Microsoft.EventGrid/systemTopics `
            --query '[].id' --output tsv)
        if ($LASTEXITCODE -ne 0) {
            Stop-Here "the system topics of subscription $each could not be listed: see the message of az above."
        }
        foreach ($topic in $found) {
            $isGiven = $ours -contains $topic
            if (-not $isGiven -and (Get-Part $topic 8) -notlike "$app-*") { continue }
            if ($isGiven -and $countingMode -ne 'schedule') { continue }
            Remove-At $topic
        }
    }
}

function Remove-At([string]$Topic) {
    $topicName = Get-Part $Topic 8
    $names = @(az eventgrid system-topic event-subscription list --subscription (Get-Part $Topic 2) `
        --resource-group (Get-Part $Topic 4) --system-topic-name $topicName --query '[].name' --output tsv)
    if ($LASTEXITCODE -ne 0) {
        Stop-Here "the event subscriptions at $topicName could not be listed: see the message of az above."
    }
    foreach ($name in "$app-nsg", "$app-vnet") {
        if ($names -notcontains $name) { continue }
        Say "deleting $name at $topicName, whose events are not wanted any more"
        az eventgrid system-topic event-subscription delete --subscription (Get-Part $Topic 2) `
            --resource-group (Get-Part $Topic 4) --system-topic-name $topicName --name $name --yes
        if ($LASTEXITCODE -ne 0) {
            Stop-Here "event subscription $name could not be deleted: see the message of az above."
        }
    }
}

$group = ''
$deployment = 'main'
$more = @($args)
if ($more.Count -gt 0 -and $more[0] -notlike '*=*') {
    $group = $more[0]
    $more = @($more | Select-Object -Skip 1)
    if ($more.Count -gt 0 -and $more[0] -notlike '*=*') {
        $deployment = $more[0]
        $more = @($more | Select-Object -Skip 1)
    }
}
elseif (-not ($env:functionAppId -and $env:resultsAccountId -and $env:accountTopics -and $env:countingMode)) {
    Stop-Here ('usage: infra/events.ps1 RESOURCE_GROUP [DEPLOYMENT] [NAME=VALUE ...] ' +
        '(without RESOURCE_GROUP functionAppId, resultsAccountId, accountTopics and countingMode must be in the ' +
        'environment)')
}

if (-not (Get-Command az -ErrorAction SilentlyContinue)) {
    Stop-Here 'the Azure CLI (az) was not found. Install it: https://learn.microsoft.com/cli/azure/install-azure-cli'
}
az account show --output none
if ($LASTEXITCODE -ne 0) { Stop-Here 'the Azure CLI is not signed in. Run: az login' }

if ($group) {
    $functionAppId = Read-Output functionAppId
    $resultsAccountId = Read-Output resultsAccountId
    $accountTopics = Read-Output accountTopics
    $countingMode = Read-Output countingMode
}
else {
    $functionAppId = $env:functionAppId
    $resultsAccountId = $env:resultsAccountId
    $accountTopics = $env:accountTopics
    $countingMode = $env:countingMode
}
$subscription = Get-Part $functionAppId 2
$appGroup = Get-Part $functionAppId 4
$app = Get-Part $functionAppId 8

az account show --subscription $subscription --output none
if ($LASTEXITCODE -ne 0) {
    Stop-Here ("the Azure CLI can't see subscription $subscription, which the app is in. Sign in to its tenant: " +
        'az login --tenant TENANT')
}

if ($countingMode -eq 'schedule') {
    Remove-Others
    'With mode=schedule there are no events: the app looks every five minutes what has grown, and has'
    'no subscriptions any more. To see whether all is well: flowtally doctor'
    exit
}

$functions = @(-split $accountTopics | ForEach-Object { "ingest_nsg_$(Get-Part $_ 0)"; "ingest_vnet_$(Get-Part $_ 0)" })

Wait-For Test-Functions 'its functions' (
    'Either publishing failed: repeat the second command of docs/deploy.md, and read its last lines. Or the app ' +
    "can't load its code: the remote build took another Python than 3.13, or a setting is wrong; the app's own " +
    'error is in the portal, at the app under Log stream, or in Application Insights under Failures. If az says ' +
    "above that something isn't allowed or doesn't exist, that is the reason.")
Wait-For Test-Key 'its key for events (blobs_extension)' (
    'The app makes it when it has started with its code: the portal shows at the app under Log stream why it ' +
    "doesn't start. If az says above that something isn't allowed, that is the reason.")

foreach ($topic in (-split $accountTopics)) {
    $account = Get-Part $topic 0
    $name = Get-Part $topic 8
    Say "subscribing at $name"
    az deployment group create --subscription (Get-Part $topic 2) --resource-group (Get-Part $topic 4) `
        --name flowtally-events --template-file (Join-Path $PSScriptRoot 'events.bicep') --output none `
        --parameters "flowLogAccountName=$account" "systemTopicName=$name" `
        "functionAppId=$functionAppId" "resultsAccountId=$resultsAccountId" @more
    if ($LASTEXITCODE -ne 0) {
        Stop-Here ("the subscriptions at $name could not be deployed: see the message of az above, and " +
            '"When something fails" in docs/deploy.md. If it is a failed handshake, repeat this command in a minute.')
    }
}
Remove-Others

'The app is subscribed. Flow logs grow every minute: within about two minutes table flowledger has rows, and'
'flowstats about five minutes later. To see whether all is well: flowtally doctor'
