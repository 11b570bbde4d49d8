// The flow-log account's Event Grid system topic: made here, or found.

@description('Name of the topic if it is to be made.')
param name string

@description('Name of the topic that exists; empty if one is to be made.')
param existingName string

@description('Region of the flow-log account.')
param location string

@description('Resource id of the flow-log account.')
param sourceId string

resource made 'Microsoft.EventGrid/systemTopics@2025-02-15' = if (empty(existingName)) {
  name: name
  location: location
  // Dead letters are written with this identity; a storage firewall lets in a system-assigned one only.
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: sourceId
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource found 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = if (!empty(existingName)) {
  name: empty(existingName) ? name : existingName
}

@description('Name of the topic.')
output name string = empty(existingName) ? name : existingName

@description('Object id of its system-assigned identity.')
output principalId string = empty(existingName) ? made.identity.principalId : found.identity.principalId
