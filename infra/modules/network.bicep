// A virtual network for the app, and private endpoints to the storage accounts of main.bicep.

@description('Name of the virtual network.')
param name string

@description('Region.')
param location string

@description('Address range of the subnet for the app, /27 or wider.')
param functionsSubnetPrefix string

@description('Address range of the subnet for the private endpoints.')
param endpointsSubnetPrefix string

@description('Resource id of the host\'s storage account.')
param hostAccountId string

@description('Resource id of the results\' storage account.')
param resultsAccountId string

var services = [
  'blob'
  'queue'
  'table'
]

var endpoints = [
  { name: 'host-blob', accountId: hostAccountId, service: 'blob' }
  { name: 'host-queue', accountId: hostAccountId, service: 'queue' }
  { name: 'host-table', accountId: hostAccountId, service: 'table' }
  { name: 'results-table', accountId: resultsAccountId, service: 'table' }
]

resource virtualNetwork 'Microsoft.Network/virtualNetworks@2024-07-01' = {
  name: name
  location: location
  properties: {
    addressSpace: {
      addressPrefixes: [
        functionsSubnetPrefix
        endpointsSubnetPrefix
      ]
    }
    subnets: [
      {
        // Flex Consumption takes no underscore in this name.
        name: 'functions'
        properties: {
          addressPrefix: functionsSubnetPrefix
          delegations: [
            {
              name: 'functions'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
          // So that a firewall of the flow-log account can let this subnet in.
          serviceEndpoints: [
            {
              service: 'Microsoft.Storage.Global'
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: endpointsSubnetPrefix
        }
      }
    ]
  }
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [for service in services: {
  name: 'privatelink.${service}.${environment().suffixes.storage}'
  location: 'global'
}]

resource zoneLinks 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [for (service, index) in services: {
  parent: zones[index]
  name: name
  location: 'global'
  properties: {
    registrationEnabled: false
    // A flow-log account with private endpoints elsewhere is not in these zones: ask the public ones for it.
    resolutionPolicy: 'NxDomainRedirect'
    virtualNetwork: {
      id: virtualNetwork.id
    }
  }
}]

resource privateEndpoints 'Microsoft.Network/privateEndpoints@2024-07-01' = [for endpoint in endpoints: {
  name: '${name}-${endpoint.name}'
  location: location
  properties: {
    subnet: {
      id: '${virtualNetwork.id}/subnets/endpoints'
    }
    privateLinkServiceConnections: [
      {
        name: endpoint.name
        properties: {
          privateLinkServiceId: endpoint.accountId
          groupIds: [
            endpoint.service
          ]
        }
      }
    ]
  }
}]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-07-01' = [for (endpoint, index) in endpoints: {
  parent: privateEndpoints[index]
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: endpoint.service
        properties: {
          privateDnsZoneId: zones[indexOf(services, endpoint.service)].id
        }
      }
    ]
  }
}]

@description('Resource id of the subnet for the app.')
output functionsSubnetId string = '${virtualNetwork.id}/subnets/functions'
