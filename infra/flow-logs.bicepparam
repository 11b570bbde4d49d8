// az deployment group create --resource-group NetworkWatcherRG --parameters infra/flow-logs.bicepparam
using 'flow-logs.bicep'

param location = 'westeurope'
param targetResourceIds = [
  '/subscriptions/SUBSCRIPTION/resourceGroups/RESOURCE_GROUP/providers/Microsoft.Network/virtualNetworks/VIRTUAL_NETWORK'
]
param storageAccountId = '/subscriptions/SUBSCRIPTION/resourceGroups/RESOURCE_GROUP/providers/Microsoft.Storage/storageAccounts/FLOW_LOG_ACCOUNT'
