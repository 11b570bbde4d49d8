// Who may do what on the resources of main.bicep. Each comment says what fails without the role.
// An assignment is named by its scope, by who gets the role, and by the role: all of these are known before anything is
// made, so that `what-if` can show it. Don't change that recipe: Azure refuses to assign the same role once more under
// another name.

@description('Resource id of the app\'s identity.')
param appId string

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Resource ids of the system topics.')
param topicIds string[]

@description('Object ids of their identities, in the same order.')
param topicPrincipalIds string[]

@description('Name of the host\'s storage account.')
param hostAccountName string

@description('Name of the results\' storage account.')
param resultsAccountName string

@description('Name of the Application Insights component.')
param applicationInsightsName string

@description('Object ids of the users, groups and pipelines that may read the results.')
param readerObjectIds string[]

@description('Object ids of those that may write the results, too.')
param backfillerObjectIds string[]

var blobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var blobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
var queueDataContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
var tableDataContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
var tableDataReader = '76199698-9eea-4c19-bc75-cec21354c6b6'
var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

resource hostAccount 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: hostAccountName
}

resource resultsAccount 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: resultsAccountName
}

resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = {
  name: '${resultsAccountName}/default/dead-letters'
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

// Without it the app does not start: it cannot load its package, nor keep its keys, locks and blob receipts.
resource appOnHostBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostAccount
  name: guid(hostAccount.id, appId, blobDataOwner)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataOwner)
  }
}

// Without it events are taken in but never run: the host queues each blob here before it calls the function.
resource appOnHostQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostAccount
  name: guid(hostAccount.id, appId, queueDataContributor)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', queueDataContributor)
  }
}

// Without it the host cannot write its diagnostic events, so that a failed start shows no reason in the portal.
resource appOnHostTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostAccount
  name: guid(hostAccount.id, appId, tableDataContributor)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', tableDataContributor)
  }
}

// Without it nothing is counted: every commit to flowledger, and every rollup, fails with 403.
resource appOnResults 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: resultsAccount
  name: guid(resultsAccount.id, appId, tableDataContributor)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', tableDataContributor)
  }
}

// Without it there are no logs and no metrics: the component takes in nothing that is not signed in.
resource appOnTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: applicationInsights
  name: guid(applicationInsights.id, appId, metricsPublisher)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', metricsPublisher)
  }
}

// Without it events.bicep fails, or events that could not be delivered vanish. On the container alone: Event Grid
// has no business with anything else.
resource topicsOnDeadLetters 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (topicId, i) in topicIds: {
    scope: deadLetters
    name: guid(deadLetters.id, topicId, blobDataContributor)
    properties: {
      principalId: topicPrincipalIds[i]
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
    }
  }
]

// Without it people get 403 from `flowtally show`, Power BI and Storage Explorer, the subscription's owner too.
resource readersOnResults 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for reader in readerObjectIds: {
    scope: resultsAccount
    name: guid(resultsAccount.id, reader, tableDataReader)
    properties: {
      principalId: reader
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', tableDataReader)
    }
  }
]

// Without it `flowtally sweep` and `flowtally rollup` get 403 from a person's machine.
resource backfillersOnResults 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for backfiller in backfillerObjectIds: {
    scope: resultsAccount
    name: guid(resultsAccount.id, backfiller, tableDataContributor)
    properties: {
      principalId: backfiller
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', tableDataContributor)
    }
  }
]
