// Everything but the code and the events: what Flowtally runs on, next to flow-log accounts that exist.
// First of three steps: this file, `func azure functionapp publish`, events.sh. With mode=schedule the first two are
// enough. See docs/deploy.md.

targetScope = 'resourceGroup'

import { flowLogAccountType, skuType, tagsType, zoneIdsType } from 'types.bicep'

@description('The storage accounts that Network Watcher writes flow logs to, of any region and subscription of the tenant. Of each its name and resource group; its subscription, if it is another one; the system topic that it has already, if it has one. Each gets role assignments, and with mode=events an event topic, and is not changed otherwise.')
@minLength(1)
param flowLogAccounts flowLogAccountType[]

@description('What begins the counting: events, an event for each update of a blob, some seconds later; or schedule, a look every five minutes at what has grown, for a fraction of the price (docs/cost.md).')
@allowed([
  'events'
  'schedule'
])
param mode string = 'events'

@description('Region of everything that is made here. The region of most flow logs saves transfer.')
param location string = resourceGroup().location

@description('Tags of everything that is made here.')
param tags tagsType = {}

@description('What all names begin with: 3 to 9 lower-case letters and digits.')
@minLength(3)
@maxLength(9)
param namePrefix string = 'flowtally'

@description('Memory of an instance, in MB; its share of processors follows. It is what a second of work is paid by.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

@description('The most instances that the app is scaled out to.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('When the sweep timer runs: NCRONTAB of six fields, UTC; empty for every five minutes with mode=schedule, every half hour with mode=events.')
param sweepSchedule string = ''

@description('How far back the daily look goes: 90m, 24h, 7d; empty for 7d.')
param sweepSince string = ''

@description('When the rollup timer runs, with mode=events: NCRONTAB of six fields, UTC; empty for every five minutes.')
param rollupSchedule string = ''

@description('How long the results are kept, such as 400d; empty to keep them for ever.')
param keep string = ''

@description('Resource id of the Log Analytics workspace that telemetry goes to; empty to make one.')
param workspaceId string = ''

@description('Days that telemetry is kept in the workspace that is made. The first 30 are in the price of ingestion.')
@minValue(30)
@maxValue(730)
param telemetryRetentionDays int = 30

@description('Gigabytes a day that the workspace that is made takes in at the most; what comes after is lost until the next day.')
@minValue(1)
param telemetryDailyCapGb int = 1

@description('Days that undelivered events are kept in container dead-letters.')
@minValue(1)
param deadLetterRetentionDays int = 30

@description('How often, and where, Azure keeps copies of the results.')
param resultsSku skuType = 'Standard_LRS'

@description('Object ids of the users and groups in Microsoft Entra ID that may read the results and the flow logs, besides whoever deploys. Account keys are off, so that nobody else can.')
param readerObjectIds string[] = []

@description('Whether whoever deploys, a user or a pipeline, may read the results and the flow logs.')
param deployerReads bool = true

@description('Whether whoever deploys may write the results, too, which `flowtally sweep` and `flowtally rollup` need.')
param deployerBackfills bool = false

@description('What the app may do with the blobs of the flow logs, with mode=events: owner, as Microsoft documents for the blob trigger, or reader, which is all that the trigger was seen to use. With mode=schedule there is no trigger, and the app is a reader.')
@allowed([
  'owner'
  'reader'
])
param flowLogBlobRole string = 'owner'

@description('Whether the two storage accounts made here are reached through private endpoints only. The app keeps its public address, which Event Grid needs.')
param privateNetworking bool = false

@description('Resource id of an existing subnet for the app, delegated to Microsoft.App/environments, /27 or wider; empty to make a network.')
param functionsSubnetId string = ''

@description('Resource id of an existing subnet for the private endpoints; empty to make a network.')
param endpointsSubnetId string = ''

@description('Address range of the subnet for the app, /27 or wider, if a network is made; empty for 10.77.0.0/25.')
param functionsSubnetPrefix string = ''

@description('Address range of the subnet for the private endpoints, if a network is made; empty for 10.77.0.128/27.')
param endpointsSubnetPrefix string = ''

@description('Resource ids of the private DNS zones that are there, by service: blob, queue, table. What is missing is made and linked to the network; a zone that is given has to be linked already.')
param privateDnsZoneIds zoneIdsType = {}

@description('Private endpoints to the flow-log accounts: none; approved, by whoever deploys; or requested, of whoever owns the accounts.')
@allowed([
  'none'
  'approved'
  'requested'
])
param flowLogPrivateEndpoints string = 'none'

@description('Whether alerts are made: see docs/operate.md.')
param alerts bool = false

@description('E-mail addresses that alerts go to; none, and they are seen in the portal only.')
param alertEmails string[] = []

// A parameter that would have no effect is a mistake, and is said before anything is made.
var givesSubnets = !empty(functionsSubnetId) || !empty(endpointsSubnetId)
var bySchedule = mode == 'schedule'
var mistakes = filter(
  [
    empty(functionsSubnetId) != empty(endpointsSubnetId) ? 'functionsSubnetId and endpointsSubnetId go together' : ''
    givesSubnets && !privateNetworking ? 'functionsSubnetId and endpointsSubnetId need privateNetworking=true' : ''
    !empty(functionsSubnetPrefix) && (givesSubnets || !privateNetworking) ? 'functionsSubnetPrefix needs privateNetworking=true, and no subnet that is given' : ''
    !empty(endpointsSubnetPrefix) && (givesSubnets || !privateNetworking) ? 'endpointsSubnetPrefix needs privateNetworking=true, and no subnet that is given' : ''
    !empty(privateDnsZoneIds) && !privateNetworking ? 'privateDnsZoneIds needs privateNetworking=true' : ''
    flowLogPrivateEndpoints != 'none' && !privateNetworking ? 'flowLogPrivateEndpoints needs privateNetworking=true' : ''
    telemetryRetentionDays != 30 && !empty(workspaceId) ? 'telemetryRetentionDays is the existing workspace\'s own: leave it out' : ''
    telemetryDailyCapGb != 1 && !empty(workspaceId) ? 'telemetryDailyCapGb is the existing workspace\'s own: leave it out' : ''
    deployerBackfills && !deployerReads ? 'deployerBackfills needs deployerReads=true' : ''
    !empty(alertEmails) && !alerts ? 'alertEmails needs alerts=true' : ''
    bySchedule && !empty(rollupSchedule) ? 'rollupSchedule needs mode=events: with mode=schedule each sweep rolls up what it has counted' : ''
    bySchedule && flowLogBlobRole != 'owner' ? 'flowLogBlobRole needs mode=events: with mode=schedule the app is a reader anyway' : ''
    length(union(map(flowLogAccounts, account => toLower(account.name)), [])) < length(flowLogAccounts) ? 'flowLogAccounts names an account twice' : ''
  ],
  mistake => !empty(mistake)
)

var isValid = empty(mistakes) ? true : fail(join(mistakes, '; '))
var suffix = take(uniqueString(resourceGroup().id, namePrefix), 8)
// Most resources are named after it. Azure works names out before it makes anything, and stops at a mistake.
var functionAppName = '${namePrefix}-${isValid ? suffix : ''}'
var hostAccountName = '${namePrefix}host${suffix}'
var resultsAccountName = '${namePrefix}results${suffix}'

// In lower case and without doubles: Azure refuses the same role twice for one principal.
var deployers = deployerReads ? [toLower(deployer().objectId)] : []
var readers = union(map(readerObjectIds, reader => toLower(reader)), deployers)

// Settings and functions are named after the account, so that the order of accounts doesn't matter:
// FLOW_LOGS_STFLOWLOGSWEU, ingest_vnet_stflowlogsweu.
var connections = [for account in flowLogAccounts: 'FLOW_LOGS_${toUpper(account.name)}']

// The accounts whose events are wanted.
var eventAccounts = filter(flowLogAccounts, account => !bySchedule)

// Names and ids are worked out here, not asked of what makes them: `what-if` can't see through that. With
// mode=schedule no topic is made, but events.sh has to find those that an earlier deployment made.
var topics = [
  for account in flowLogAccounts: {
    name: account.?systemTopicName ?? '${functionAppName}-${account.name}'
    resourceGroup: account.?systemTopicResourceGroup ?? account.resourceGroup
    subscriptionId: account.?subscriptionId ?? subscription().subscriptionId
  }
]
var topicIds = [
  for topic in topics: resourceId(
    topic.subscriptionId,
    topic.resourceGroup,
    'Microsoft.EventGrid/systemTopics',
    topic.name
  )
]

resource accounts 'Microsoft.Storage/storageAccounts@2025-06-01' existing = [
  for account in flowLogAccounts: {
    name: account.name
    scope: resourceGroup(account.?subscriptionId ?? subscription().subscriptionId, account.resourceGroup)
  }
]

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: functionAppName
  location: location
  tags: tags
}

// What the host needs: the published package, its locks, keys and queues, among them the app's own queue of work.
// The host would make that one when the first message is put; made here, it can be polled before.
module host 'modules/storage.bicep' = {
  params: {
    accountName: hostAccountName
    location: location
    tags: tags
    containerNames: [
      'packages'
    ]
    queueNames: [
      'flowtally-work'
    ]
    privateOnly: privateNetworking
  }
}

// What users read, and the events that could not be delivered.
module results 'modules/storage.bicep' = {
  params: {
    accountName: resultsAccountName
    location: location
    tags: tags
    sku: resultsSku
    tableNames: [
      'flowledger'
      'flowcounts'
      'flowstats'
    ]
    containerNames: [
      'dead-letters'
    ]
    expiringContainer: 'dead-letters'
    expiringDays: deadLetterRetentionDays
    privateOnly: privateNetworking
  }
}

var hostAccount = { name: hostAccountName, resourceGroup: resourceGroup().name }
var resultsAccount = { name: resultsAccountName, resourceGroup: resourceGroup().name }
var ownEndpoints = [
  { name: 'host-blob', account: hostAccount, service: 'blob', request: '' }
  { name: 'host-queue', account: hostAccount, service: 'queue', request: '' }
  { name: 'host-table', account: hostAccount, service: 'table', request: '' }
  { name: 'results-table', account: resultsAccount, service: 'table', request: '' }
]
var flowLogEndpoints = flatten(map(
  flowLogPrivateEndpoints == 'none' ? [] : flowLogAccounts,
  account =>
    map(['blob', 'queue'], service => {
      name: '${account.name}-${service}'
      account: account
      service: service
      request: flowLogPrivateEndpoints == 'requested' ? 'Flowtally ${functionAppName} reads flow logs' : ''
    })
))
// The queues of the flow logs' accounts are what the blob trigger needs.
var neededEndpoints = filter(flowLogEndpoints, endpoint => endpoint.service == 'blob' || !bySchedule)

module network 'modules/network.bicep' = if (privateNetworking) {
  params: {
    name: functionAppName
    location: location
    tags: tags
    functionsSubnetId: functionsSubnetId
    endpointsSubnetId: endpointsSubnetId
    functionsSubnetPrefix: empty(functionsSubnetPrefix) ? '10.77.0.0/25' : functionsSubnetPrefix
    endpointsSubnetPrefix: empty(endpointsSubnetPrefix) ? '10.77.0.128/27' : endpointsSubnetPrefix
    zoneIds: privateDnsZoneIds
    endpoints: concat(ownEndpoints, neededEndpoints)
  }
  dependsOn: [
    host
    results
  ]
}

module systemTopics 'modules/system-topic.bicep' = [
  for (account, i) in eventAccounts: {
    scope: resourceGroup(topics[i].subscriptionId, topics[i].resourceGroup)
    params: {
      name: topics[i].name
      exists: account.?systemTopicName != null
      // A topic lives where its source does; what is known only at run time has to come as a parameter.
      location: accounts[i].location
      tags: tags
      sourceId: accounts[i].id
    }
  }
]

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = if (empty(workspaceId)) {
  name: functionAppName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: telemetryRetentionDays
    workspaceCapping: {
      dailyQuotaGb: telemetryDailyCapGb
    }
    features: {
      disableLocalAuth: true
    }
  }
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: functionAppName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: empty(workspaceId) ? workspace.id : workspaceId
    DisableLocalAuth: true
  }
}

module roles 'modules/roles.bicep' = {
  params: {
    appId: identity.id
    appPrincipalId: identity.properties.principalId
    topicIds: bySchedule ? [] : topicIds
    topicPrincipalIds: map(systemTopics, topic => topic.outputs.principalId)
    hostAccountName: hostAccountName
    resultsAccountName: resultsAccountName
    applicationInsightsName: applicationInsights.name
    readerObjectIds: readers
    backfillerObjectIds: deployerBackfills ? deployers : []
  }
  dependsOn: [
    host
    results
  ]
}

module flowLogRoles 'modules/flow-log-roles.bicep' = [
  for account in flowLogAccounts: {
    scope: resourceGroup(account.?subscriptionId ?? subscription().subscriptionId, account.resourceGroup)
    params: {
      appId: identity.id
      appPrincipalId: identity.properties.principalId
      flowLogAccountName: account.name
      blobRole: bySchedule ? 'reader' : flowLogBlobRole
      hasTrigger: !bySchedule
      readerObjectIds: readers
    }
  }
]

var ownSettings = [
  // The host's own storage.
  { name: 'AzureWebJobsStorage__blobServiceUri', value: host.outputs.blobServiceUri }
  { name: 'AzureWebJobsStorage__queueServiceUri', value: host.outputs.queueServiceUri }
  { name: 'AzureWebJobsStorage__tableServiceUri', value: host.outputs.tableServiceUri }
  { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
  { name: 'AzureWebJobsStorage__clientId', value: identity.properties.clientId }
  // The results.
  { name: 'RESULTS__tableServiceUri', value: results.outputs.tableServiceUri }
  { name: 'RESULTS__credential', value: 'managedidentity' }
  { name: 'RESULTS__clientId', value: identity.properties.clientId }
  { name: 'FLOWTALLY_MODE', value: mode }
  // Telemetry. The connection string only says where to: without a role nothing is taken in.
  { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: applicationInsights.properties.ConnectionString }
  { name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING', value: 'ClientId=${identity.properties.clientId};Authorization=AAD' }
]
// What is empty is not set: the app's own default depends on its mode.
var givenSettings = filter(
  [
    { name: 'FLOWTALLY_SWEEP_SCHEDULE', value: sweepSchedule }
    { name: 'FLOWTALLY_SWEEP_SINCE', value: sweepSince }
    { name: 'FLOWTALLY_ROLLUP_SCHEDULE', value: rollupSchedule }
    { name: 'FLOWTALLY_KEEP', value: keep }
  ],
  setting => !empty(setting.value)
)
var flowLogSettings = flatten(map(accounts, (account, i) => [
  { name: '${connections[i]}__blobServiceUri', value: account.properties.primaryEndpoints.blob }
  { name: '${connections[i]}__credential', value: 'managedidentity' }
  { name: '${connections[i]}__clientId', value: identity.properties.clientId }
]))
// Where there is a blob trigger, the host does not start without the queue service.
var flowLogQueueSettings = bySchedule
  ? []
  : map(accounts, (account, i) => {
      name: '${connections[i]}__queueServiceUri'
      value: account.properties.primaryEndpoints.queue
    })

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  // checkov:skip=CKV_AZURE_225: not every region has zones; while the app is down nothing is lost, the sweep catches up
  name: functionAppName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource functionApp 'Microsoft.Web/sites@2025-03-01' = {
  // checkov:skip=CKV_AZURE_222: Event Grid delivers to public addresses only; the endpoint wants a key
  // checkov:skip=CKV_AZURE_17: Event Grid shows a key, and has no client certificate
  // checkov:skip=CKV_AZURE_78: ftpsState is not for Flex Consumption, which has no FTP
  // checkov:skip=CKV_AZURE_212: Flex Consumption has no fixed instances, and the app may be down for a while
  // checkov:skip=CKV_AZURE_213: Flex Consumption replaces instances by itself
  name: functionAppName
  location: location
  // azd finds the app to publish to by this tag.
  tags: union(tags, { 'azd-service-name': 'app' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: privateNetworking ? network!.outputs.functionsSubnetId : null
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      appSettings: concat(ownSettings, givenSettings, flowLogSettings, flowLogQueueSettings)
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${host.outputs.blobServiceUri}packages'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
      }
    }
  }
  // The app must not start before it has its roles: it would keep tokens without them for hours.
  dependsOn: [
    roles
    flowLogRoles
  ]
}

// Publishing uses `az login`; passwords for it are off.
resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: functionApp
  name: 'ftp'
  // Without it some deployments fail ("The parameter location has an invalid value"); the type doesn't have it.
  #disable-next-line BCP187
  location: location
  properties: {
    allow: false
  }
}

resource noScmPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: functionApp
  name: 'scm'
  // As above.
  #disable-next-line BCP187
  location: location
  properties: {
    allow: false
  }
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, functionAppName, 'workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Flowtally ${functionAppName}'
    category: 'workbook'
    sourceId: applicationInsights.id
    serializedData: replace(loadTextContent('workbook.json'), '__COMPONENT__', applicationInsights.id)
  }
}

module watch 'modules/alerts.bicep' = if (alerts) {
  params: {
    name: functionAppName
    location: location
    tags: tags
    applicationInsightsId: applicationInsights.id
    mode: mode
    emails: alertEmails
  }
}

@description('Name of the function app.')
output functionAppName string = functionApp.name

@description('The second step: run it in the folder of function_app.py.')
output publishCommand string = 'func azure functionapp publish ${functionApp.name} --python'

@description('The page.')
output dashboardUrl string = 'https://${functionApp.properties.defaultHostName}/api/dashboard'

@description('Prints the key that the page asks for.')
output keyCommand string = 'az functionapp keys list --subscription ${subscription().subscriptionId} --resource-group ${resourceGroup().name} --name ${functionApp.name} --query functionKeys.default --output tsv'

@description('What events.sh needs: the function app.')
output functionAppId string = functionApp.id

@description('What events.sh needs: the account for the results.')
output resultsAccountId string = resourceId('Microsoft.Storage/storageAccounts', resultsAccountName)

@description('What events.sh needs: what begins the counting, events or schedule.')
output countingMode string = mode

@description('What events.sh needs: of each flow-log account its name and, directly behind it, the id of its system topic, separated by blanks, which no id holds. With mode=schedule there may be no such topic.')
output accountTopics string = join(map(topicIds, (topicId, i) => '${toLower(flowLogAccounts[i].name)}${topicId}'), ' ')

@description('What the command line needs: run it in a POSIX shell.')
output exportCommand string = join(
  concat(
    ['export FLOWTALLY_MODE=${mode} RESULTS__tableServiceUri=${results.outputs.tableServiceUri}'],
    map(accounts, (account, i) => '${connections[i]}__blobServiceUri=${account.properties.primaryEndpoints.blob}')
  ),
  ' '
)
