// What the app may do on the flow-log account: a module of its own, as the account may be in another group.

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Name of the flow-log account.')
param flowLogAccountName string

var blobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
var queueDataContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: flowLogAccountName
}

// Without it no flow log can be read: ingest and sweep fail with 403. What Microsoft documents for the blob
// trigger; the app itself only reads.
resource appOnBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: account
  name: guid(account.id, appPrincipalId, blobDataOwner)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataOwner)
  }
}

// Without it the host cannot note a blob that failed five times in queue webjobs-blobtrigger-poison of this
// account, and stops.
resource appOnQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: account
  name: guid(account.id, appPrincipalId, queueDataContributor)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', queueDataContributor)
  }
}
