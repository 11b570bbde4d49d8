// A virtual network for the app, unless one is given, and private endpoints to storage accounts.

import { endpointType, tagsType, zoneIdsType } from '../types.bicep'

@description('Name of the virtual network.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags tagsType

@description('Resource id of an existing subnet for the app; empty to make the network.')
param functionsSubnetId string

@description('Resource id of an existing subnet for the private endpoints; empty to make the network.')
param endpointsSubnetId string

@description('Private DNS zones that are there.')
param zoneIds zoneIdsType

@description('Address range of the subnet for the app, /27 or wider.')
param functionsSubnetPrefix string

@description('Address range of the subnet for the private endpoints.')
param endpointsSubnetPrefix string

@description('Private endpoints to make.')
param endpoints endpointType[]

var services = [
  'blob'
  'queue'
  'table'
]
var makesNetwork = empty(functionsSubnetId)
// Zones made here are linked to the network: the one made here, or the given subnet's.
var networkId = makesNetwork
  ? resourceId('Microsoft.Network/virtualNetworks', name)
  : split(functionsSubnetId, '/subnets/')[0]
var endpointsSubnet = makesNetwork ? '${networkId}/subnets/endpoints' : endpointsSubnetId

resource virtualNetwork 'Microsoft.Network/virtualNetworks@2025-05-01' = if (makesNetwork) {
  name: name
  location: location
  tags: tags
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
          // Delegated subnets don't heed it; stated because its default changes with the API version.
          defaultOutboundAccess: false
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
          defaultOutboundAccess: false
        }
      }
    ]
  }
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for service in services: if (zoneIds[?service] == null) {
    name: 'privatelink.${service}.${environment().suffixes.storage}'
    location: 'global'
    tags: tags
  }
]

resource zoneLinks 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (service, index) in services: if (zoneIds[?service] == null) {
    parent: zones[index]
    name: name
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      // A flow-log account with private endpoints elsewhere is not in these zones: ask the public ones for it.
      resolutionPolicy: 'NxDomainRedirect'
      virtualNetwork: {
        id: networkId
      }
    }
    dependsOn: [
      virtualNetwork
    ]
  }
]

resource privateEndpoints 'Microsoft.Network/privateEndpoints@2025-05-01' = [
  for endpoint in endpoints: {
    name: '${name}-${endpoint.name}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: endpointsSubnet
      }
      privateLinkServiceConnections: empty(endpoint.request)
        ? [
            {
              name: endpoint.name
              properties: {
                privateLinkServiceId: resourceId(
                  endpoint.account.?subscriptionId ?? subscription().subscriptionId,
                  endpoint.account.resourceGroup,
                  'Microsoft.Storage/storageAccounts',
                  endpoint.account.name
                )
                groupIds: [
                  endpoint.service
                ]
              }
            }
          ]
        : []
      manualPrivateLinkServiceConnections: empty(endpoint.request)
        ? []
        : [
            {
              name: endpoint.name
              properties: {
                privateLinkServiceId: resourceId(
                  endpoint.account.?subscriptionId ?? subscription().subscriptionId,
                  endpoint.account.resourceGroup,
                  'Microsoft.Storage/storageAccounts',
                  endpoint.account.name
                )
                groupIds: [
                  endpoint.service
                ]
                requestMessage: endpoint.request
              }
            }
          ]
    }
    dependsOn: [
      virtualNetwork
    ]
  }
]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [
  for (endpoint, index) in endpoints: {
    parent: privateEndpoints[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: endpoint.service
          properties: {
            privateDnsZoneId: zoneIds[?endpoint.service] ?? zones[indexOf(services, endpoint.service)].id
          }
        }
      ]
    }
  }
]

@description('Resource id of the subnet for the app.')
output functionsSubnetId string = makesNetwork ? '${virtualNetwork.id}/subnets/functions' : functionsSubnetId
