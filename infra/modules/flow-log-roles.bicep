// What the app may do on the flow-log account: a module of its own, as the account may be in another group.

@description('Resource id of the app\'s identity.')
param appId string

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Name of the flow-log account.')
param flowLogAccountName string

@description('What the app may do with blobs.')
param blobRole 'owner' | 'reader'

@description('Whether the app has blob triggers for this account.')
param hasTrigger bool

@description('Object ids of the users, groups and pipelines that may read the flow logs.')
param readerObjectIds string[]

var blobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
var blobDataReader = '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
var appBlobRole = blobRole == 'owner' ? blobDataOwner : blobDataReader
var queueDataContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: flowLogAccountName
}

// Without it no flow log can be read: ingest and sweep fail with 403. Microsoft documents the owner's role for the
// blob trigger. The app itself only reads, and Microsoft's extension was seen to send nothing but HEAD requests.
resource appOnBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: account
  name: guid(account.id, appId, appBlobRole)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', appBlobRole)
  }
}

// Without it the host cannot note a blob that it gives up in queue webjobs-blobtrigger-poison of this account, and
// stops.
resource appOnQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (hasTrigger) {
  scope: account
  name: guid(account.id, appId, queueDataContributor)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', queueDataContributor)
  }
}

// Without it `flowtally status`, `flows`, `rejects`, `why` and `doctor` get 403: they read the flow logs themselves.
resource readersOnBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for reader in readerObjectIds: {
    scope: account
    name: guid(account.id, reader, blobDataReader)
    properties: {
      principalId: reader
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataReader)
    }
  }
]
