// A look every five minutes instead of events: two commands, no event topic, and less to pay.
using '../main.bicep'

param flowLogAccounts = [
  {
    name: 'logswesteurope'
    resourceGroup: 'FLOW_LOG_RESOURCE_GROUP'
  }
  {
    name: 'logseastus2'
    resourceGroup: 'FLOW_LOG_RESOURCE_GROUP'
    subscriptionId: '00000000-0000-0000-0000-000000000000'
  }
]
param mode = 'schedule'
param keep = '400d'
param instanceMemoryMB = 512
