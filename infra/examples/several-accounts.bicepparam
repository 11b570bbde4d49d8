// One app for several regions: a flow-log account in each, two of them in another subscription than the app.
using '../main.bicep'

param flowLogAccounts = [
  {
    name: 'logswesteurope'
    resourceGroup: 'FLOW_LOG_RESOURCE_GROUP'
  }
  {
    name: 'logsnortheurope'
    resourceGroup: 'FLOW_LOG_RESOURCE_GROUP'
  }
  {
    name: 'logseastus2'
    resourceGroup: 'US_RESOURCE_GROUP'
    subscriptionId: '00000000-0000-0000-0000-000000000000'
  }
  {
    name: 'logswestus3'
    resourceGroup: 'US_RESOURCE_GROUP'
    subscriptionId: '00000000-0000-0000-0000-000000000000'
    systemTopicName: 'SYSTEM_TOPIC'
  }
]
param readerObjectIds = [
  '00000000-0000-0000-0000-000000000001'
]
