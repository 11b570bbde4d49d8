// A landing zone: workspace, subnets, DNS zones and the system topic are there, and tags are wanted.
using '../main.bicep'

param flowLogAccounts = [
  {
    name: 'FLOW_LOG_ACCOUNT'
    resourceGroup: 'FLOW_LOG_RESOURCE_GROUP'
    systemTopicName: 'SYSTEM_TOPIC'
    systemTopicResourceGroup: 'SYSTEM_TOPIC_RESOURCE_GROUP'
  }
]
param tags = {
  environment: 'production'
  owner: 'network-team'
}
param workspaceId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/HUB/providers/Microsoft.OperationalInsights/workspaces/WORKSPACE'
param resultsSku = 'Standard_ZRS'
param flowLogBlobRole = 'reader'
param privateNetworking = true
param functionsSubnetId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/HUB/providers/Microsoft.Network/virtualNetworks/SPOKE/subnets/functions'
param endpointsSubnetId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/HUB/providers/Microsoft.Network/virtualNetworks/SPOKE/subnets/endpoints'
param privateDnsZoneIds = {
  blob: '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/HUB/providers/Microsoft.Network/privateDnsZones/privatelink.blob.core.windows.net'
  queue: '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/HUB/providers/Microsoft.Network/privateDnsZones/privatelink.queue.core.windows.net'
  table: '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/HUB/providers/Microsoft.Network/privateDnsZones/privatelink.table.core.windows.net'
}
param flowLogPrivateEndpoints = 'requested'
