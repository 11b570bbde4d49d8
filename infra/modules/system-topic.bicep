// The flow-log account's Event Grid system topic: made here, or found.

import { tagsType } from '../types.bicep'

@description('Name of the topic.')
param name string

@description('Whether it is there already.')
param exists bool

@description('Region of the flow-log account.')
param location string

@description('Tags.')
param tags tagsType

@description('Resource id of the flow-log account.')
param sourceId string

resource made 'Microsoft.EventGrid/systemTopics@2025-02-15' = if (!exists) {
  name: name
  location: location
  tags: tags
  // Dead letters are written with this identity; a storage firewall lets in a system-assigned one only.
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: sourceId
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource found 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = if (exists) {
  name: name
}

@description('Object id of its system-assigned identity.')
output principalId string = exists ? found!.identity.principalId : made!.identity.principalId
