// The events: what brings each update of a flow log to the published app. Third of three steps, because the
// app's key for events is there only when the code has been published and has started.
// Deployed to the resource group of the system topic.

targetScope = 'resourceGroup'

@description('The Event Grid system topic of the flow-log account.')
param systemTopicName string

@description('The function app.')
param functionAppName string

@description('Resource group of the function app.')
param functionAppResourceGroup string

@description('Storage account for the results, which holds the dead letters, too.')
param resultsAccountName string

@description('Whether NSG flow logs are counted.')
param nsgFlowLogs bool = true

@description('Whether virtual network flow logs are counted.')
param vnetFlowLogs bool = true

@description('Minutes that Event Grid tries to deliver an event for. What it gives up is found by the sweep.')
@minValue(1)
@maxValue(1440)
param eventTimeToLiveMinutes int = 1440

var sources = [
  { name: 'flowtally-nsg', functionName: 'ingest_nsg', container: 'insights-logs-networksecuritygroupflowevent', wanted: nsgFlowLogs }
  { name: 'flowtally-vnet', functionName: 'ingest_vnet', container: 'insights-logs-flowlogflowevent', wanted: vnetFlowLogs }
]

resource systemTopic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: systemTopicName
}

resource functionApp 'Microsoft.Web/sites@2024-11-01' existing = {
  name: functionAppName
  scope: resourceGroup(functionAppResourceGroup)
}

resource resultsAccount 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: resultsAccountName
  scope: resourceGroup(functionAppResourceGroup)
}

// One after the other: a topic takes one change at a time.
@batchSize(1)
resource eventSubscriptions 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = [for source in sources: if (source.wanted) {
  parent: systemTopic
  name: source.name
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    destination: {
      endpointType: 'WebHook'
      properties: {
        endpointUrl: 'https://${functionApp.properties.defaultHostName}/runtime/webhooks/blobs?functionName=Host.Functions.${source.functionName}&code=${listKeys('${functionApp.id}/host/default', '2024-11-01').systemKeys.blobs_extension}'
      }
    }
    filter: {
      includedEventTypes: [
        'Microsoft.Storage.BlobCreated'
      ]
      subjectBeginsWith: '/blobServices/default/containers/${source.container}/blobs/'
      subjectEndsWith: '/PT1H.json'
      advancedFilters: [
        {
          operatorType: 'StringIn'
          key: 'data.api'
          values: [
            'PutBlockList'
            'PutBlob'
          ]
        }
      ]
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: eventTimeToLiveMinutes
    }
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: resultsAccount.id
          blobContainerName: 'dead-letters'
        }
      }
    }
  }
}]
