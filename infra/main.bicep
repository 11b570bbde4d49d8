// Everything but the code and the events: what Flowtally runs on, next to a flow-log account that exists.
// First of three steps: this file, `func azure functionapp publish`, events.bicep. See docs/deploy.md.

targetScope = 'resourceGroup'

@description('Storage account that Network Watcher writes the flow logs to. It gets an event topic and two role assignments, and is not changed otherwise.')
param flowLogAccountName string

@description('Resource group of the flow-log account, in this subscription.')
param flowLogResourceGroup string = resourceGroup().name

@description('Name of the Event Grid system topic that the flow-log account has already; empty if it has none, and one is made. Azure allows one for each account.')
param existingSystemTopicName string = ''

@description('Resource group of that system topic, existing or to be made.')
param systemTopicResourceGroup string = flowLogResourceGroup

@description('Region of everything that is made here. The region of the flow-log account saves transfer.')
param location string = resourceGroup().location

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
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('When the sweep timer runs: NCRONTAB of six fields, UTC.')
param sweepSchedule string = '0 7,37 * * * *'

@description('How far back the sweep timer looks: 90m, 24h, 7d.')
param sweepSince string = '24h'

@description('When the rollup timer runs: NCRONTAB of six fields, UTC.')
param rollupSchedule string = '30 */5 * * * *'

@description('Days that telemetry is kept. The first 30 are in the price of ingestion.')
@minValue(30)
@maxValue(730)
param telemetryRetentionDays int = 30

@description('Gigabytes of telemetry a day, after which no more is taken in until the next day.')
@minValue(1)
param telemetryDailyCapGb int = 1

@description('Days that undelivered events are kept in container dead-letters.')
@minValue(1)
param deadLetterRetentionDays int = 30

@description('Object ids of the users and groups in Microsoft Entra ID that may read the results. Account keys are off, so that nobody else can.')
param readerObjectIds array = []

@description('Whether the two storage accounts made here are reached through private endpoints only. The app keeps its public address, which Event Grid needs.')
param privateNetworking bool = false

@description('With private networking: address range of the subnet for the app, /27 or wider.')
param functionsSubnetPrefix string = '10.77.0.0/25'

@description('With private networking: address range of the subnet for the private endpoints.')
param endpointsSubnetPrefix string = '10.77.0.128/27'

var suffix = take(uniqueString(resourceGroup().id, namePrefix), 8)
var functionAppName = '${namePrefix}-${suffix}'

resource flowLogAccount 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: flowLogAccountName
  scope: resourceGroup(flowLogResourceGroup)
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: functionAppName
  location: location
}

// What the host needs: the published package, its locks, keys and queues.
module host 'modules/storage.bicep' = {
  name: '${functionAppName}-host'
  params: {
    accountName: '${namePrefix}host${suffix}'
    location: location
    containerNames: [
      'packages'
    ]
    privateOnly: privateNetworking
  }
}

// What users read, and the events that could not be delivered.
module results 'modules/storage.bicep' = {
  name: '${functionAppName}-results'
  params: {
    accountName: '${namePrefix}results${suffix}'
    location: location
    tableNames: [
      'flowledger'
      'flowrejects'
      'flowhours'
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

module network 'modules/network.bicep' = if (privateNetworking) {
  name: '${functionAppName}-network'
  params: {
    name: functionAppName
    location: location
    functionsSubnetPrefix: functionsSubnetPrefix
    endpointsSubnetPrefix: endpointsSubnetPrefix
    hostAccountId: host.outputs.id
    resultsAccountId: results.outputs.id
  }
}

module systemTopic 'modules/system-topic.bicep' = {
  name: '${functionAppName}-system-topic'
  scope: resourceGroup(systemTopicResourceGroup)
  params: {
    name: '${functionAppName}-flow-logs'
    existingName: existingSystemTopicName
    // A topic lives where its source does; what is known only at run time has to come as a parameter.
    location: flowLogAccount.location
    sourceId: flowLogAccount.id
  }
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: functionAppName
  location: location
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
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
  }
}

module roles 'modules/roles.bicep' = {
  name: '${functionAppName}-roles'
  params: {
    appPrincipalId: identity.properties.principalId
    topicPrincipalId: systemTopic.outputs.principalId
    hostAccountName: host.outputs.name
    resultsAccountName: results.outputs.name
    applicationInsightsName: applicationInsights.name
    readerObjectIds: readerObjectIds
  }
}

module flowLogRoles 'modules/flow-log-roles.bicep' = {
  name: '${functionAppName}-flow-log-roles'
  scope: resourceGroup(flowLogResourceGroup)
  params: {
    appPrincipalId: identity.properties.principalId
    flowLogAccountName: flowLogAccountName
  }
}

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: functionAppName
  location: location
  kind: 'functionapp'
  // checkov:skip=CKV_AZURE_225: not every region has zones; while the app is down nothing is lost, the sweep catches up
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource functionApp 'Microsoft.Web/sites@2024-11-01' = {
  // checkov:skip=CKV_AZURE_222: Event Grid delivers to public addresses only; the endpoint wants a key
  // checkov:skip=CKV_AZURE_17: Event Grid shows a key, and has no client certificate
  // checkov:skip=CKV_AZURE_78: ftpsState is not for Flex Consumption, which has no FTP
  // checkov:skip=CKV_AZURE_212: Flex Consumption has no fixed instances, and the app may be down for a while
  // checkov:skip=CKV_AZURE_213: Flex Consumption replaces instances by itself
  name: functionAppName
  location: location
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
    virtualNetworkSubnetId: privateNetworking ? network.outputs.functionsSubnetId : null
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      appSettings: [
        // The host's own storage.
        { name: 'AzureWebJobsStorage__blobServiceUri', value: host.outputs.blobServiceUri }
        { name: 'AzureWebJobsStorage__queueServiceUri', value: host.outputs.queueServiceUri }
        { name: 'AzureWebJobsStorage__tableServiceUri', value: host.outputs.tableServiceUri }
        { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
        { name: 'AzureWebJobsStorage__clientId', value: identity.properties.clientId }
        // The flow logs. Without the queue service the host stops at the first blob that it gives up.
        { name: 'FLOW_LOGS__blobServiceUri', value: flowLogAccount.properties.primaryEndpoints.blob }
        { name: 'FLOW_LOGS__queueServiceUri', value: flowLogAccount.properties.primaryEndpoints.queue }
        { name: 'FLOW_LOGS__credential', value: 'managedidentity' }
        { name: 'FLOW_LOGS__clientId', value: identity.properties.clientId }
        // The results.
        { name: 'RESULTS__tableServiceUri', value: results.outputs.tableServiceUri }
        { name: 'RESULTS__credential', value: 'managedidentity' }
        { name: 'RESULTS__clientId', value: identity.properties.clientId }
        { name: 'FLOWTALLY_TRIGGER_SOURCE', value: 'EventGrid' }
        { name: 'FLOWTALLY_SWEEP_SCHEDULE', value: sweepSchedule }
        { name: 'FLOWTALLY_SWEEP_SINCE', value: sweepSince }
        { name: 'FLOWTALLY_ROLLUP_SCHEDULE', value: rollupSchedule }
        // Telemetry. The connection string only says where to: without a role nothing is taken in.
        { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: applicationInsights.properties.ConnectionString }
        { name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING', value: 'ClientId=${identity.properties.clientId};Authorization=AAD' }
      ]
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
  // The app starts with its roles, or its first tokens are without them for as long as they are kept.
  dependsOn: [
    roles
    flowLogRoles
  ]
}

// Publishing uses `az login`; passwords for it are off.
resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: functionApp
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource noScmPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: functionApp
  name: 'scm'
  properties: {
    allow: false
  }
}

@description('The second step: run it in the folder of function_app.py.')
output publishCommand string = 'func azure functionapp publish ${functionApp.name}'

@description('The third step, once the app is published.')
output eventsCommand string = 'az deployment group create --resource-group ${systemTopicResourceGroup} --template-file infra/events.bicep --parameters systemTopicName=${systemTopic.outputs.name} functionAppName=${functionApp.name} functionAppResourceGroup=${resourceGroup().name} resultsAccountName=${results.outputs.name}'

@description('What the command line needs: export FLOW_LOGS__blobServiceUri.')
output flowLogsBlobServiceUri string = flowLogAccount.properties.primaryEndpoints.blob

@description('What the command line needs: export RESULTS__tableServiceUri.')
output resultsTableServiceUri string = results.outputs.tableServiceUri
