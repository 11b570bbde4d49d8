// A virtual network and private endpoints, the flow-log account's among them.
using '../main.bicep'

param flowLogAccounts = [
  {
    name: 'FLOW_LOG_ACCOUNT'
    resourceGroup: 'FLOW_LOG_RESOURCE_GROUP'
  }
]
param privateNetworking = true
param functionsSubnetPrefix = '10.20.0.0/25'
param endpointsSubnetPrefix = '10.20.0.128/27'
param flowLogPrivateEndpoints = 'approved'
